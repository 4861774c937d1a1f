"""What moves into the first convolution changes no answer: the interpreter gives the same before and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from convert.images.conventions import input_spec
from convert.tflite.first_convolution import MEAN_AND_STD, REPEATED_CHANNEL, fold_into_first_convolutions
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import open_engine, run_over
from edge_runtime import InputSpec
from edge_runtime.preprocess import normalize

SIZE = (9, 11)
PIXELS = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), np.uint8)
PER_STD = InputSpec(*SIZE, (100.0,) * 3, (50.0, 60.0, 70.0))


def lowered(features: Callable[[Any], Any], channels: int = 3) -> bytes:
    image = keras.Input((*SIZE, channels), batch_size=1, name="image")
    model = keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(features(image))))
    random = np.random.default_rng(1)
    model.set_weights([random.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def answers(model: bytes, spec: InputSpec, pixels: Any = PIXELS) -> Any:
    return np.stack(list(run_over(open_engine(model), normalize(pixels, spec))))


@pytest.mark.parametrize(
    ("name", "padding", "spec"),
    [
        ("means and stds", "valid", input_spec("torch", *SIZE)),
        ("means", "valid", input_spec("caffe", *SIZE)),
        ("stds under padding", "same", PER_STD),
    ],
)
def test_one_mean_and_std_are_left_and_answers_stay(name: str, padding: str, spec: InputSpec) -> None:
    model = lowered(
        lambda x: layers.Concatenate()(
            [layers.Conv2D(4, 3, 2, padding, activation="relu")(x), layers.Conv2D(5, 3, 2, padding)(x)]
        )
    )
    folded, now, lines = fold_into_first_convolutions(model, spec)
    assert (len(set(now.mean)), len(set(now.std))) == (1, 1)
    assert (now.channel_order, lines) == (spec.channel_order, (MEAN_AND_STD,))
    before = answers(model, spec)
    assert np.allclose(answers(folded, now), before, atol=1e-5 * np.abs(before).max())


@pytest.mark.parametrize(
    ("features", "spec"),
    [
        (lambda x: layers.Conv2D(4, 3, padding="same")(x), input_spec("torch", *SIZE)),  # the border is the mean
        (lambda x: layers.Conv2D(4, 3)(x), input_spec("tf", *SIZE)),  # nothing differs
        (lambda x: layers.DepthwiseConv2D(3)(x), input_spec("torch", *SIZE)),
        (lambda x: layers.Conv2D(4, 3)(layers.MaxPooling2D()(x)), input_spec("torch", *SIZE)),
        (
            lambda x: layers.Concatenate()([layers.Conv2D(4, 3)(x), layers.Cropping2D(1)(x)]),
            input_spec("torch", *SIZE),
        ),
    ],
)
def test_what_cannot_move_stays(features: Callable[[Any], Any], spec: InputSpec) -> None:
    model = lowered(features)
    assert fold_into_first_convolutions(model, spec) == (model, spec, ())


def test_a_repeated_channel_goes_into_the_kernel() -> None:
    model = lowered(lambda x: layers.Conv2D(4, 3, padding="same")(layers.Concatenate()([x, x, x])), channels=1)
    spec = input_spec("tf", *SIZE, 1)
    folded, now, lines = fold_into_first_convolutions(model, spec)
    assert (now, lines) == (spec, (REPEATED_CHANNEL,))
    graph = TfliteGraph(folded)
    assert not graph.named("CONCATENATION")
    assert graph.shape(graph.named("CONV_2D")[0].weights) == (4, 3, 3, 1)
    grey = PIXELS[..., :1]
    assert np.allclose(answers(folded, spec, grey), answers(model, spec, grey), atol=1e-5)
