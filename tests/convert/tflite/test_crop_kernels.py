"""Taps that read only padding are cropped, no tap that reads a pixel is, and the answers stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from keras import layers
from PIL import Image

from convert.keras_models.sources import ModelSource
from convert.lowering.lower import LoweringRequest
from convert.lowering.worker import lower_here
from convert.tflite.crop_kernels import crop_kernels, needed_taps
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from edge_runtime.arrays import Array

HEIGHT, WIDTH = 3, 4


def classifier(features: Any) -> keras.Model:
    """Return a network of ten classes on the features that a function computes from an image of 3x4 pixels."""
    keras.utils.set_random_seed(0)
    image = keras.Input((HEIGHT, WIDTH, 3), batch_size=1, name="image")
    pooled = layers.GlobalAveragePooling2D()(features(image))
    return keras.Model(image, layers.Dense(10, activation="softmax")(pooled))


def lowered(features: Any) -> bytes:
    return bytes(tf.lite.TFLiteConverter.from_keras_model(classifier(features)).convert())


def answers(model: bytes) -> Array:
    engine = RecordingEngine(model)
    images = np.random.default_rng(1).normal(0, 2, (5, 1, HEIGHT, WIDTH, 3)).astype(np.float32)
    return np.concatenate([engine.run(image) for image in images])


def kernel_sizes(model: bytes, kind: str = "CONV_2D") -> list[tuple[int, ...]]:
    """Return (height, width) of each kernel."""
    graph = TfliteGraph(model)
    return [graph.shape(operator.weights)[1:3] for operator in graph.named(kind)]


def convolve(pixels: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """Convolve one row of pixels with TensorFlow's own "SAME" padding."""
    row, taps = pixels[np.newaxis, np.newaxis, :, np.newaxis], kernel[np.newaxis, :, np.newaxis, np.newaxis]
    return np.asarray(tf.nn.conv2d(row, taps, [1, 1, stride, 1], "SAME", dilations=[1, 1, dilation, 1]))[0, 0, :, 0]


@given(size=st.integers(1, 9), taps=st.integers(1, 9), steps=st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]))
def test_what_is_left_out_does_not_matter(size: int, taps: int, steps: tuple[int, int]) -> None:
    random = np.random.default_rng(size)
    pixels, kernel = random.normal(size=size), random.normal(size=taps)
    whole = convolve(pixels, kernel, *steps)
    needed = needed_taps(size, len(whole), taps, *steps)
    assert np.allclose(convolve(pixels, kernel[needed], *steps), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "taps", "left"),
    [(3, 7, slice(1, 6)), (2, 7, slice(2, 5)), (1, 7, slice(3, 4)), (4, 7, slice(0, 7)), (17, 7, slice(0, 7))],
)
def test_taps_further_out_than_the_picture_is_wide_are_left_out(size: int, taps: int, left: slice) -> None:
    assert needed_taps(size, size, taps, stride=1, dilation=1) == left


def test_kernels_shrink_and_answers_stay() -> None:
    def features(x: Any) -> Any:
        x = layers.Conv2D(6, (1, 7), padding="same", activation="relu", bias_initializer="normal")(x)
        x = layers.Conv2D(8, (7, 1), padding="same", activation="relu", bias_initializer="normal")(x)
        x = layers.DepthwiseConv2D(7, padding="same", bias_initializer="normal")(x)
        return layers.Conv2D(4, 5, padding="same", dilation_rate=2)(x)

    model = lowered(features)
    cropped = crop_kernels(model)
    assert kernel_sizes(model)[:2] == [(1, 7), (7, 1)]
    assert kernel_sizes(cropped)[:2] == [(1, 7), (5, 1)], "on 4 columns the outermost of 7 taps meets one"
    assert kernel_sizes(cropped, "DEPTHWISE_CONV_2D") == [(5, 7)]
    assert kernel_sizes(cropped)[2] == (3, 3), "a dilated kernel reaches further"
    assert len(cropped) < len(model)
    assert np.allclose(answers(cropped), answers(model), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "features",
    [
        pytest.param(layers.Conv2D(4, (3, 4)), id="unpadded"),
        pytest.param(layers.Conv2D(4, 5, padding="same"), id="every tap meets a pixel"),
        pytest.param(lambda x: layers.Flatten()(x)[:, None, None], id="no convolution"),
    ],
)
def test_what_has_nothing_to_crop_stays_as_it_is(features: Any) -> None:
    model = lowered(features)
    assert crop_kernels(model) is model


def test_a_kernel_with_two_readers_stays() -> None:
    shared = layers.Conv2D(3, (7, 1), padding="same")
    model = lowered(lambda x: shared(shared(x)))
    assert len({operator.weights for operator in TfliteGraph(model).named("CONV_2D")}) == 1
    assert crop_kernels(model) is model


def test_lowering_crops_before_it_compares_with_keras(tmp_path: Path) -> None:
    model = classifier(layers.Conv2D(6, (7, 1), padding="same"))
    model.set_weights([np.random.default_rng(2).normal(size=w.shape) for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    pixels = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    source = ModelSource(str(tmp_path / "model.keras"))
    found = lower_here(LoweringRequest(source, "tf", (tmp_path / "a.png",), tmp_path), print)
    assert kernel_sizes(found.model) == [(5, 1)]
    assert found.keras_sqnr_db > 100
