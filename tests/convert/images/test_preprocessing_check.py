"""Wrong preprocessing is found on labelled images, and only there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from convert.errors import SourceError
from convert.images.conventions import input_spec
from convert.images.dataset import ImageSet, find_images
from convert.images.preprocessing_check import refuse_wrong_preprocessing
from tests.conftest import COLOURS, SIZE

LABELS = tuple(COLOURS)
TF = input_spec("tf", SIZE, SIZE)


def colour_network() -> bytes:
    """The nearest of the colours, in exact arithmetic: argmin |x - c|^2 = argmax 2 x.c - c.c with x in [-1, 1]."""
    image = keras.Input((SIZE, SIZE, 3), batch_size=1)
    mean = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1)(image))
    model = keras.Model(image, layers.Dense(len(LABELS), "softmax")(mean))
    centres = np.array([COLOURS[label] for label in LABELS]) / 127.5 - 1
    kernel: Any = np.eye(3)[np.newaxis, np.newaxis]
    model.set_weights([kernel, np.zeros(3), 20 * 2 * centres.T, -20 * (centres**2).sum(axis=1)])
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


@pytest.fixture(scope="module")
def network() -> bytes:
    return colour_network()


@pytest.fixture(scope="module")
def pictures(validation_folder: Path) -> ImageSet:
    return find_images(validation_folder).shuffled()[:60]


def test_the_right_preprocessing_passes(network: bytes, pictures: ImageSet) -> None:
    refuse_wrong_preprocessing(network, TF, LABELS, pictures)


def test_the_wrong_convention_is_refused_and_the_better_one_named(network: bytes, pictures: ImageSet) -> None:
    """Channels less their means, and turned: blue and red are taken for each other."""
    with pytest.raises(
        SourceError, match=r"right on \d+% of 40 labelled images .* and on 100% with --preprocessing tf"
    ):
        refuse_wrong_preprocessing(network, input_spec("caffe", SIZE, SIZE), LABELS, pictures)


def test_swapped_channels_are_refused(network: bytes, pictures: ImageSet) -> None:
    """Blue and red are taken for each other, green stays: a third is right."""
    with pytest.raises(SourceError, match="check --preprocessing"):
        refuse_wrong_preprocessing(network, replace(TF, channel_order="BGR"), LABELS, pictures)


def test_without_labels_there_is_nothing_to_compare(network: bytes, pictures: ImageSet) -> None:
    wrong = input_spec("caffe", SIZE, SIZE)
    refuse_wrong_preprocessing(network, wrong, LABELS, replace(pictures, folders=None))
    refuse_wrong_preprocessing(network, wrong, ("a", "b", "c"), pictures)
    refuse_wrong_preprocessing(network, wrong, LABELS, None)
