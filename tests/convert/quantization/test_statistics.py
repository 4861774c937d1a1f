"""Statistics of a tiny network against the same network computed by NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from convert.errors import QuantizationError
from convert.quantization.statistics import (
    SAMPLED_IMAGES,
    SAMPLED_VALUES,
    SMOOTHING,
    ActivationStatistics,
    ChannelObserver,
    Measured,
    collect_statistics,
)
from convert.tflite.graph import TfliteGraph
from edge_runtime import InputSpec
from edge_runtime.preprocess import Pixels

Array = npt.NDArray[Any]
SPEC = InputSpec(5, 6, mean=(127.5, 120, 100), std=(64, 50, 100))


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """1x1 convolution, ReLU, mean, dense, softmax."""
    keras.utils.set_random_seed(0)
    image = keras.Input((5, 6, 3), batch_size=1)
    x = keras.layers.Conv2D(4, 1, activation="relu", bias_initializer="normal")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, "softmax", bias_initializer="normal")(x))


@pytest.fixture(scope="module")
def model(network: keras.Model) -> bytes:
    return bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), np.uint8))


@pytest.fixture(scope="module")
def statistics(model: bytes, images: list[Pixels]) -> ActivationStatistics:
    return collect_statistics(model, iter(images), SPEC)[0]


def computed(network: keras.Model, images: list[Pixels]) -> dict[str, Array]:
    """Every activation of the network in float64, images first."""
    kernel, bias, weights, offset = (np.float64(value) for value in network.get_weights())
    image = (np.float64(images) - SPEC.mean) / SPEC.std
    convolved = np.maximum(image @ kernel[0, 0] + bias, 0)
    pooled = convolved.mean(axis=(1, 2))
    logits = pooled @ weights + offset
    powers = np.exp(logits)
    return {
        "image": image,
        "CONV_2D": convolved,
        "MEAN": pooled,
        "FULLY_CONNECTED": logits,
        "SOFTMAX": powers / powers.sum(axis=1, keepdims=True),
    }


def names(model: bytes) -> dict[str, str]:
    """Kind of operator -> name of its output."""
    graph = TfliteGraph(model)
    outputs = {operator.name: graph.tensor_name(operator.outputs[0]) for operator in graph.operators}
    return {"image": graph.tensor_name(graph.inputs[0]), **outputs}


def test_every_activation_has_its_extremes_and_means(
    statistics: ActivationStatistics, network: keras.Model, model: bytes, images: list[Pixels]
) -> None:
    activations, name = computed(network, images), names(model)
    assert set(statistics.minimum) == set(statistics.maximum) == set(statistics.mean) == set(name.values())
    for kind, values in activations.items():
        channels = values.reshape(-1, values.shape[-1])
        assert np.allclose(statistics.minimum[name[kind]], channels.min(axis=0), atol=1e-5)
        assert np.allclose(statistics.maximum[name[kind]], channels.max(axis=0), atol=1e-5)
        assert np.allclose(statistics.mean[name[kind]], channels.mean(axis=0), atol=1e-5)


def test_extremes_are_true_ones_whatever_the_order(
    model: bytes, images: list[Pixels], statistics: ActivationStatistics
) -> None:
    """No moving average, which would forget the first images."""
    backwards = collect_statistics(model, images[::-1], SPEC)[0]
    np.testing.assert_equal(backwards.minimum, statistics.minimum)
    np.testing.assert_equal(backwards.maximum, statistics.maximum)
    assert np.array_equal(backwards.logits, statistics.logits[::-1])


def test_logits_are_kept_image_by_image(
    statistics: ActivationStatistics, network: keras.Model, images: list[Pixels]
) -> None:
    assert statistics.images == 7
    assert statistics.logits.dtype == np.float32
    assert np.allclose(statistics.logits, computed(network, images)["FULLY_CONNECTED"], atol=1e-5)


def test_no_image_is_refused(model: bytes) -> None:
    with pytest.raises(QuantizationError, match="no calibration image: pass --calibration"):
        collect_statistics(model, [], SPEC)[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_activation_that_is_not_finite_is_named(value: float, model: bytes, images: list[Pixels]) -> None:
    """Also when later images are well again."""
    graph = TfliteGraph(model)
    bias = graph.named("FULLY_CONNECTED")[0].inputs[2]
    graph.set_constant(bias, np.float32([0, value, 0]))
    broken = graph.tensor_name(graph.named("FULLY_CONNECTED")[0].outputs[0])
    with pytest.raises(QuantizationError, match="network or its preprocessing is broken") as caught:
        collect_statistics(graph.to_bytes(), images, SPEC)[0]
    assert broken in str(caught.value)


def observer_of(images: Array) -> ChannelObserver:
    observer = ChannelObserver(images.shape[-1], has_pixels=True)
    for number, image in enumerate(images):
        assert observer.add(Measured.of(image, (0, number))) == (image.min(), image.max())
    return observer


def test_channels_keep_their_own_extremes_and_means() -> None:
    images = np.random.default_rng(0).normal(0, 3, (5, 4, 6, 3)).astype(np.float32)
    observer = observer_of(images)
    channels = images.reshape(-1, 3)
    assert np.array_equal(observer.minimum, channels.min(axis=0))
    assert np.array_equal(observer.maximum, channels.max(axis=0))
    assert np.allclose(observer.mean, channels.mean(axis=0), atol=1e-6)


def test_calibrators_see_what_the_equalized_network_computes() -> None:
    """As if the images were multiplied before they are observed."""
    images = np.random.default_rng(1).normal(1, 3, (6, 5, 6, 3)).astype(np.float32)
    factors = np.array([0.5, 4.0, 1.0])
    found, expected = observer_of(images).observed(factors), observer_of(images * np.float32(factors)).observed()
    assert (found.minimum, found.maximum) == (expected.minimum, expected.maximum)
    assert found.moving == pytest.approx(expected.moving)
    assert found.histogram.limit == expected.histogram.limit
    assert np.array_equal(found.histogram.counts, expected.histogram.counts)
    assert found.histogram.counts.sum() == images.size


def test_the_moving_average_forgets_slowly() -> None:
    images = np.array([[[-1.0], [2.0]], [[-3.0], [1.0]]], np.float32)
    expected = SMOOTHING * -1 + (1 - SMOOTHING) * -3, SMOOTHING * 2 + (1 - SMOOTHING)
    assert observer_of(images).observed().moving == pytest.approx(expected)


def test_the_sample_of_a_large_activation_is_small_and_drawn_from_all_of_it() -> None:
    image = np.arange(100_000, dtype=np.float32).reshape(-1, 2)
    rows = Measured.of(image, (0, 0)).rows
    assert rows.shape == (SAMPLED_VALUES // 2, 2)
    assert np.array_equal(rows[:, 1] - rows[:, 0], np.ones(len(rows)))
    assert np.quantile(rows, [0.1, 0.5, 0.9]) == pytest.approx([1e4, 5e4, 9e4], rel=0.1)
    assert not np.array_equal(rows, Measured.of(image, (0, 1)).rows)


@pytest.mark.parametrize("channels", [1, 3, 70])
def test_an_activation_is_measured_channel_by_channel_however_many_there_are(channels: int) -> None:
    image = np.random.default_rng(0).normal(3, 2, (1, 37, 41, channels)).astype(np.float32)
    measured = Measured.of(image, (0, 0))
    assert np.array_equal(measured.low, image.min(axis=(0, 1, 2)))
    assert np.array_equal(measured.high, image.max(axis=(0, 1, 2)))
    assert measured.mean == pytest.approx(image.mean(axis=(0, 1, 2), dtype=np.float64), rel=1e-6)


def test_the_extremes_of_an_image_are_counted_beside_the_sample_which_stands_for_all_of_it() -> None:
    """One value of 160,000 is far out: a sample misses it, and a calibrator that weighs clipping must not."""
    image = np.random.default_rng(0).uniform(-1, 1, (1, 400, 400, 1)).astype(np.float32)
    image[0, 200, 200, 0] = 100.0
    histogram = observer_of(image).observed().histogram
    assert histogram.counts[histogram.centres > 2].sum() == 1
    assert histogram.counts.sum() == pytest.approx(image.size, rel=0.01)


def test_the_sample_does_not_grow_with_the_number_of_images() -> None:
    """Every second image is dropped whenever there are too many, so that those left are spread over all."""
    images = np.arange(5 * SAMPLED_IMAGES, dtype=np.float32).reshape(-1, 1, 1)
    counts = observer_of(images).observed().histogram.counts
    assert SAMPLED_IMAGES / 2 <= counts.sum() <= SAMPLED_IMAGES
    assert observer_of(images).observed().maximum == images.max()
