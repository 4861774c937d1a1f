"""Small networks, translated, beside Keras' own answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from convert.lowering.translate import translate
from convert.statistics.metrics import sqnr_db
from convert.tflite.graph import TfliteGraph
from edge_runtime.engines import Engine, choose_engine

Tensor = Any
Array = npt.NDArray[np.float32]
Body = Callable[[Tensor], Tensor]
SHAPE = (13, 12, 6)


def network(body: Body, shape: tuple[int, ...] = SHAPE, seed: int = 1) -> keras.Model:
    """What `body` makes of an image, as it is; random weights, large ones among them."""
    image = keras.Input(shape, name="image")
    return randomised(keras.Model(image, body(image), name="network"), seed)


def classifier(body: Body, shape: tuple[int, ...] = SHAPE) -> keras.Model:
    """The same behind a head of four classes."""

    def headed(x: Tensor) -> Tensor:
        x = body(x)
        x = layers.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else x
        return layers.Dense(4, activation="softmax")(x)

    return network(headed, shape)


def randomised(model: keras.Model, seed: int = 1) -> keras.Model:
    random = np.random.default_rng(seed)
    for weight in model.weights:
        positive = weight.name in ("gamma", "moving_variance", "variance")
        if "int" not in weight.dtype:
            weight.assign(random.uniform(0.3, 2, weight.shape) if positive else random.normal(0, 0.4, weight.shape))
    return model


def images(shape: tuple[int, ...] = SHAPE, count: int = 3) -> Array:
    return np.random.default_rng(0).normal(0, 2, (count, *shape)).astype(np.float32)


def answers(model: bytes, pixels: Array) -> Array:
    engine = Engine(model, choose_engine("litert"), 1)
    return np.concatenate([engine.run(image[np.newaxis]) for image in pixels])


def kinds(model: bytes) -> list[str]:
    return [operator.name for operator in TfliteGraph(model).operators]


def agreement(model: keras.Model) -> tuple[bytes, float]:
    """A model's translation, and the SQNR in dB of its answers against those of Keras."""
    translated, pixels = translate(model), images(model.input_shape[1:])
    wanted = np.asarray(model(pixels, training=False))
    found = answers(translated, pixels)
    assert found.shape == wanted.shape
    assert wanted.std() > 1e-3, "nothing to compare"
    return translated, sqnr_db(wanted, found)
