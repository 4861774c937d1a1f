"""Small classifiers with every ending that a Keras model may have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from convert.keras_models.configurations import read_configuration
from convert.keras_models.heads import with_head
from convert.keras_models.model_files import load_classifier

Tensor = Any
SHAPE = (9, 8, 3)


def features(x: Tensor) -> Tensor:
    return layers.GlobalAveragePooling2D()(layers.Conv2D(5, 3, activation="relu")(x))


def model_of(body: Callable[[Tensor], Tensor], name: str = "network") -> keras.Model:
    image = keras.Input(SHAPE)
    return keras.Model(image, body(image), name=name)


def whole(body: Callable[[Tensor], Tensor]) -> keras.Model:
    """A Sequential that has a whole classifier as its only layer."""
    return keras.Sequential([keras.Input(SHAPE), model_of(body, "inside")])


def dense_softmax(x: Tensor) -> Tensor:
    return layers.Dense(4, activation="softmax")(features(x))


def softmax_layer(x: Tensor) -> Tensor:
    return layers.Softmax()(layers.Dense(4)(features(x)))


def softmax_activation(x: Tensor) -> Tensor:
    return layers.Activation("softmax")(layers.Dense(4, use_bias=False)(features(x)))


def softmax_operation(x: Tensor) -> Tensor:
    return keras.ops.softmax(layers.Dense(4)(features(x)))


def convolution_softmax(x: Tensor) -> Tensor:
    x = layers.AveragePooling2D((7, 6))(layers.Conv2D(5, 3)(x))
    return layers.Flatten()(layers.Conv2D(4, 1, activation="softmax")(x))


def softmax_before_reshapes(x: Tensor) -> Tensor:
    x = layers.Softmax()(layers.Reshape((1, 1, 4))(layers.Dense(4)(features(x))))
    return layers.Activation("linear")(layers.Dropout(0.5)(layers.Flatten()(x)))


def two_softmaxes(x: Tensor) -> Tensor:
    attention = layers.Dense(5, activation="softmax")(features(x))
    return layers.Dense(4, activation="softmax")(layers.Multiply()([features(x), attention]))


def dense_sigmoids(x: Tensor) -> Tensor:
    return layers.Dense(4, activation="sigmoid")(features(x))


def sigmoids_before_reshapes(x: Tensor) -> Tensor:
    return layers.Flatten()(layers.Activation("sigmoid")(layers.Conv2D(4, 1)(layers.Reshape((1, 1, 5))(features(x)))))


SIGMOIDS: dict[str, Callable[[], keras.Model]] = {
    "dense with sigmoids": lambda: model_of(dense_sigmoids),
    "sigmoids, then reshapes": lambda: model_of(sigmoids_before_reshapes),
    "nested whole, sigmoids": lambda: whole(dense_sigmoids),
    "attention before sigmoids": lambda: model_of(
        lambda x: dense_sigmoids(layers.Multiply()([x, layers.Conv2D(3, 1, activation="softmax")(x)]))
    ),
    "swish before sigmoids": lambda: model_of(lambda x: dense_sigmoids(layers.Conv2D(3, 1, activation="swish")(x))),
}
"""Four independent labels."""
ENDS: dict[str, Callable[[], keras.Model]] = {
    "dense with softmax": lambda: model_of(dense_softmax),
    "softmax layer": lambda: model_of(softmax_layer),
    "softmax as activation layer": lambda: model_of(softmax_activation),
    "softmax as operation": lambda: model_of(softmax_operation),
    "convolution with softmax": lambda: model_of(convolution_softmax),
    "softmax, then reshapes": lambda: model_of(softmax_before_reshapes),
    "two softmaxes": lambda: model_of(two_softmaxes),
    "logits of a dense layer": lambda: model_of(lambda x: layers.Dense(4)(features(x))),
    "logits of a global pool": lambda: model_of(lambda x: layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))),
    "nested backbone": lambda: keras.Sequential(
        [keras.Input(SHAPE), model_of(features, "backbone"), layers.Dense(4, activation="softmax")]
    ),
    "nested whole": lambda: whole(dense_softmax),
    "nested whole, softmax layer": lambda: whole(softmax_layer),
    "nested whole, logits": lambda: whole(lambda x: layers.Dense(4)(features(x))),
    "nested twice": lambda: keras.Sequential([keras.Input(SHAPE), whole(softmax_before_reshapes)]),
    "nested after preprocessing": lambda: model_of(lambda x: whole(dense_softmax)(layers.Rescaling(0.5, 0.1)(x))),
    "softmax after a nested model": lambda: model_of(
        lambda x: layers.Softmax()(whole(lambda y: layers.Dense(4)(features(y)))(x))
    ),
}


def loaded(build: Callable[[], keras.Model], folder: Path) -> keras.Model:
    """As a user's file is loaded: saved, read, and ended in a softmax."""
    keras.utils.set_random_seed(3)
    model = build()
    random = np.random.default_rng(4)
    model.set_weights([random.normal(0, 0.7, weight.shape) for weight in model.weights])
    path = folder / "model.keras"
    model.save(path)
    return with_head(load_classifier(path, read_configuration(path)), "model.keras").model
