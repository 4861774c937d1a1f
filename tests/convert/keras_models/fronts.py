"""Small networks with something in front of them, as people build them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

HEIGHT, WIDTH = 32, 40
BuildsFront = Callable[[Any], Any]


def network(front: BuildsFront, shape: tuple[int | None, ...] = (HEIGHT, WIDTH, 3), padding: str = "valid") -> Any:
    """A convolution and a dense layer behind what `front` makes of the image, with weights that are drawn."""
    image = keras.Input(shape)
    x = layers.Conv2D(6, 3, strides=2, padding=padding, activation="relu")(front(image))
    return drawn(keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(x))))


def drawn(model: Any) -> Any:
    """Draw the weights, so that a channel that is taken for another shows."""
    random = np.random.default_rng(3)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.Conv2D | layers.Dense):
            layer.set_weights([random.normal(0, 0.3, weight.shape) for weight in layer.get_weights()])
    return model


def augmentation() -> Any:
    return keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.1)])


def transfer(base: Any, before: BuildsFront) -> Any:
    """The tutorial's: augmentation, what `before` does, a base with its own front, a head."""
    image = keras.Input(base.input_shape[1:])
    x = layers.GlobalAveragePooling2D()(base(before(augmentation()(image)), training=False))
    return drawn(keras.Model(image, layers.Dense(5)(layers.Dropout(0.2)(x))))


def pixels(shape: tuple[int, ...], count: int = 2) -> Any:
    return np.random.default_rng(1).integers(0, 256, (count, *shape)).astype(np.float32)
