"""keras.applications' network in little, with heads, and how its weights are loaded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from convert.keras_models import loader
from convert.keras_models.loader import LoadedModel
from convert.keras_models.sources import ModelSource
from edge_runtime.arrays import Array
from edge_runtime.specs import BINARY
from tests.convert.article import randomise
from tests.convert.keras_models.loading import predict

SIZE = 75
WHOLE = "pass the whole model as --model PATH"


def stand_in(channels: int = 3) -> keras.Model:
    """A base with names and layers like those of keras.applications' network, in little: its branches interleave."""

    def unit(x: Any, filters: int, size: int, strides: int = 1, name: str | None = None) -> Any:
        x = layers.Conv2D(filters, size, strides, "same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(scale=False, name=name and f"{name}_bn")(x)
        return layers.Activation("relu")(x)

    image = keras.Input((SIZE, SIZE, channels))
    x = unit(image, 8, 3, 40)
    short, long = unit(x, 8, 1), unit(unit(unit(x, 8, 1), 8, 1), 8, 1)
    up = layers.Conv2D(8, 1, name="block35_1_conv")(layers.Concatenate()([short, long]))
    x = layers.Activation("relu")(layers.Add()([x, up]))
    return keras.Model(image, unit(x, 1536, 1, name="conv_7b"), name="inception_resnet_v2")


@functools.cache
def whole() -> keras.Model:
    """keras.applications' network, made once: most of a test would go into building another."""
    return keras.applications.InceptionResNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))


def use(monkeypatch: pytest.MonkeyPatch, build: Callable[[], keras.Model]) -> None:
    """Make `load` take its base from `build`, every weight 0."""

    def blank(**options: Any) -> keras.Model:
        assert options == {"include_top": False, "weights": None, "input_shape": build().input_shape[1:]}
        model = build()
        for weight in model.weights:
            weight.assign(np.zeros(weight.shape))
        return model

    build()
    monkeypatch.setattr(keras.applications, "InceptionResNetV2", blank)


def load(path: Path, **options: Any) -> LoadedModel:
    return loader.load(ModelSource(weights=path, input_size=SIZE, **options))


def with_head(
    units: tuple[int, ...],
    build: Callable[[], keras.Model] = stand_in,
    nested: bool = False,
    flatten: bool = False,
    name: str = "head",
) -> keras.Model:
    """A classifier with random weights, whose hidden layers have relu; one unit ends in a sigmoid."""
    base = build()
    image = keras.Input((SIZE, SIZE, 3)) if nested else base.input
    x = base(image) if nested else base.output
    x = layers.Flatten()(x) if flatten else layers.GlobalAveragePooling2D()(x)
    for hidden in units[:-1]:
        x = layers.Dense(hidden, activation="relu")(x)
    x = layers.Dense(units[-1], activation="sigmoid" if units[-1] == 1 else "softmax", name=name)(x)
    return randomise(keras.Model(image, x))


def assert_same(loaded: LoadedModel, expected: Array) -> None:
    """One sigmoid counts as two classes, of which it answers the second."""
    if loaded.head == BINARY:
        expected = np.concatenate([1 - expected, expected], axis=1)
    spread = np.ptp(expected, axis=0).max()
    assert spread > 1e-4, "the answers depend on the image"
    np.testing.assert_allclose(predict(loaded.model), expected, rtol=0, atol=1e-3 * spread)
