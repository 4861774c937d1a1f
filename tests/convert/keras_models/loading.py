"""What tests of loading share: small networks of ours, their answers, and the message of an error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from convert.errors import SourceError
from convert.keras_models import loader
from convert.keras_models.inception_resnet_v2 import inception_resnet_v2
from convert.keras_models.sources import ModelSource
from convert.keras_models.weights import weight_files
from tests.convert.article import SMALL, article_model, random_images, randomise

SMALL_NETWORK = {"repeats": SMALL["repeats"], "width": SMALL["width"]}
IMAGES = random_images(75)


def our_network(classes: int = 10, **options: Any) -> keras.Model:
    return inception_resnet_v2((75, 75, 3), classes, **(SMALL_NETWORK | options))


def blank_network(classes: int = 10, **options: Any) -> keras.Model:
    """The only network of ours with such options, every weight 0: most of a test would go into building another."""
    model = _built(classes, **options)
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    return model


_built = functools.cache(our_network)


@functools.cache
def article_network(named: bool = True) -> keras.Model:
    """The article's small network with random weights, made once; not to be changed."""
    return randomise(article_model(**SMALL, named=named))


@functools.cache
def random_network() -> keras.Model:
    """Our small network with random weights, made once; not to be changed."""
    return randomise(our_network())


full_network = functools.cache(inception_resnet_v2)
"""The network in full size, made once; not to be changed."""


def predict(model: keras.Model, images: np.ndarray[Any, Any] = IMAGES) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(model(images, training=False)))


def set_stored_weights(model: keras.Model, path: Path) -> None:
    """Fill a network of ours from a file."""
    with weight_files.open_weights(path) as stored:
        weight_files.set_stored_weights(model, stored)


def error_of(call: Callable[[], object]) -> str:
    """The message of the SourceError that `call` raises; always one line."""
    with pytest.raises(SourceError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def classifier(
    last: Any = "softmax", size: int | None = 8, channels: int = 3, classes: int = 5, dtype: str = "float32"
) -> keras.Model:
    """A small classifier whose weights all matter; `last` is the activation of its last layer."""
    image = keras.Input((size, size, channels))
    x = layers.Conv2D(6, 3, activation="relu", dtype=dtype)(image)
    x = layers.BatchNormalization(dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return randomise(
        keras.Model(image, layers.Dense(classes, activation=last, dtype=dtype, name="head")(x), name="tiny")
    )


def save(model: keras.Model, path: Path) -> Path:
    model.save(path)
    return path


def load_path(path: Path, input_size: int | None = None) -> loader.LoadedModel:
    return loader.load(ModelSource(model=str(path), input_size=input_size))
