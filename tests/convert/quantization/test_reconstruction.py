"""Convolutions are fitted to what they read in int8: against least squares, and by the error of whole networks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from convert.errors import QuantizationError
from convert.quantization.dense_layers import dense_as_convolutions
from convert.quantization.gptq import DAMPING
from convert.quantization.joint_moments import JointMoments, stacked_weights, target, unstacked_weights
from convert.quantization.quantize import quantize
from convert.quantization.reconstruction import reconstruct
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import ActivationStatistics, collect_statistics
from convert.system.progress import Silent
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from edge_runtime import InputSpec
from edge_runtime.preprocess import Pixels, normalize

Array = npt.NDArray[Any]
SPEC = InputSpec(16, 16, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
RECIPE = Recipe(SCHEMES["int8"], "float32")


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    coarse = np.random.default_rng(1).uniform(0, 255, (40, 4, 4, 3))
    return list(np.asarray(tf.image.resize(coarse, (16, 16)), np.uint8))


@pytest.fixture(scope="module")
def model() -> bytes:
    """MobileNet's blocks: ReLU6, depthwise, a linear bottleneck, and two convolutions that read the same."""
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3), batch_size=1)
    x = keras.layers.Conv2D(12, 3, 2, activation="relu6", bias_initializer="normal")(image)
    for _ in range(4):
        y = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu6", bias_initializer="normal")(x)
        y = keras.layers.Conv2D(12, 1, bias_initializer="normal")(y)
        x = keras.layers.Conv2D(12, 1, activation="relu6", bias_initializer="normal")(y)
    both = [keras.layers.Conv2D(12, 1, activation="relu", bias_initializer="normal")(x) for _ in range(2)]
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Concatenate()(both))
    network = keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(5)(x)))
    return bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())


@pytest.fixture(scope="module")
def statistics(model: bytes, images: list[Pixels]) -> ActivationStatistics:
    return collect_statistics(model, images, SPEC)[0]


@pytest.fixture(scope="module")
def fitted(model: bytes, statistics: ActivationStatistics, images: list[Pixels]) -> bytes:
    return reconstruct(model, statistics, images, SPEC, Silent())


def rows(groups: int, size: int, seed: int = 0) -> tuple[Array, Array]:
    """What is read in float, and with noise that follows it."""
    random = np.random.default_rng(seed)
    exact = random.normal(1, 1, (groups, 400, size)) @ random.normal(size=(size, size))
    return exact.astype(np.float32), (0.9 * exact + random.normal(0, 0.1, exact.shape) + 0.2).astype(np.float32)


@pytest.mark.parametrize(("groups", "outputs"), [(1, 7), (5, 1)])
def test_target_is_the_ridge_regression(groups: int, outputs: int) -> None:
    exact, noisy = rows(groups, 6)
    weights = np.random.default_rng(1).normal(size=(groups, outputs, 6)).astype(np.float32)
    halves = (JointMoments.of_rows(weights, exact[:, part], noisy[:, part]) for part in np.split(np.arange(400), 2))
    y, e, yy, ey = (first := next(halves), second := next(halves)) and (first + second).central()
    assert np.allclose(y, noisy.mean(axis=1), atol=1e-4)
    found = target(weights, yy, ey, shrinkage=0.5)
    for group in range(groups):
        centred = noisy[group] - noisy[group].mean(axis=0)
        wanted = (exact[group] - noisy[group]) @ weights[group].T
        assert np.allclose(e[group], wanted.mean(axis=0), atol=1e-3)
        variance = centred.var(axis=0).mean()
        ridge = 400 * variance * (DAMPING + 0.5 * (1 + DAMPING))
        padded = np.vstack([centred, np.sqrt(ridge) * np.eye(6)])
        change = np.linalg.lstsq(padded, np.vstack([wanted - wanted.mean(axis=0), np.zeros((6, outputs))]))[0].T
        assert np.allclose(found[group], weights[group] + change, atol=1e-3)


def test_without_noise_nothing_is_changed() -> None:
    exact, _ = rows(1, 6)
    weights = np.random.default_rng(1).normal(size=(1, 4, 6)).astype(np.float32)
    _, e, yy, ey = JointMoments.of_rows(weights, exact, exact).central()
    assert np.array_equal(target(weights, yy, ey), weights)
    assert not e.any()


def test_moments_that_are_not_finite() -> None:
    broken = np.full((1, 4, 2), np.inf, np.float32)
    with np.errstate(invalid="ignore"), pytest.raises(QuantizationError, match="not finite"):
        JointMoments.of_rows(np.ones((1, 1, 2), np.float32), broken, broken).central()


@pytest.mark.parametrize(("shape", "depthwise"), [((5, 3, 2, 4), False), ((1, 3, 2, 4), True)])
def test_stacking_is_undone(shape: tuple[int, ...], depthwise: bool) -> None:
    weights = np.random.default_rng(0).normal(size=shape)
    stacked = stacked_weights(weights, depthwise=depthwise)
    assert stacked.shape == ((4, 1, 6) if depthwise else (1, 5, 24))
    assert np.array_equal(unstacked_weights(stacked, shape, depthwise=depthwise), weights)


def last_features_db(model: bytes, fitted: bytes, statistics: ActivationStatistics, images: list[Pixels]) -> float:
    """Return the SQNR of what the head reads."""
    quantized = quantize(fitted, RECIPE, SPEC, statistics).model
    graphs = TfliteGraph(model), TfliteGraph(quantized)
    engines, found = (RecordingEngine(model), RecordingEngine(quantized)), []
    for pixels in images:
        for graph, engine in zip(graphs, engines, strict=True):
            engine.run(normalize(pixels, SPEC)[np.newaxis])
            found.append(engine.tensor(graph.named("FULLY_CONNECTED")[0].inputs[0]).reshape(-1))
    exact, noisy = np.stack(found[::2]), np.stack(found[1::2])
    return 10 * float(np.log10(np.sum(exact**2) / np.sum((exact - noisy) ** 2)))


def test_the_network_gains(model: bytes, fitted: bytes, statistics: ActivationStatistics, images: list[Pixels]) -> None:
    gain = last_features_db(model, fitted, statistics, images) - last_features_db(model, model, statistics, images)
    assert gain > 1.5, "2.8 dB when this was written; nearest rounding with analytic biases is 0"


def test_quantizer_finds_the_same_integers(fitted: bytes, statistics: ActivationStatistics) -> None:
    graphs = TfliteGraph(quantize(fitted, RECIPE, SPEC, statistics).model), TfliteGraph(fitted)
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        for ours, values in zip(*(graph.named(kind) for graph in graphs), strict=True):
            exact = graphs[1].constant(values.weights)
            assert np.allclose(graphs[0].dequantized(ours.weights), exact, rtol=1e-5, atol=1e-7)


def test_a_thread_does_what_four_do(
    model: bytes, fitted: bytes, statistics: ActivationStatistics, images: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    for cores in ({0}, {0, 1, 2, 3}):
        monkeypatch.setattr("os.sched_getaffinity", lambda process, cores=cores: cores)
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: len(cores))
        assert reconstruct(model, statistics, images, SPEC, Silent()) == fitted


def test_no_image(model: bytes, statistics: ActivationStatistics) -> None:
    with pytest.raises(QuantizationError, match="no calibration image"):
        reconstruct(model, statistics, [], SPEC, Silent())


def test_a_bias_beyond_32_bits_is_fitted_as_it_is_shipped(model: bytes, images: list[Pixels]) -> None:
    """A saturated bias would stand for almost nothing here, and what reads it would be fitted to that."""
    graph = TfliteGraph(model)
    dying = graph.named("CONV_2D")[2]
    weights, bias = graph.constant(dying.weights).copy(), graph.constant(dying.bias).copy()
    weights[:4] *= 1e-9
    bias[:4] = 3.0
    graph.set_constant(dying.weights, weights)
    graph.set_constant(dying.bias, bias)
    pruned = graph.to_bytes()
    statistics = collect_statistics(pruned, images, SPEC)[0]
    fitted = reconstruct(pruned, statistics, images, SPEC, Silent())
    before, after = (last_features_db(pruned, each, statistics, images) for each in (pruned, fitted))
    assert after > before


def test_dense_layers_are_not_fitted_to_the_few_rows_there_are(images: list[Pixels]) -> None:
    keras.utils.set_random_seed(4)
    image = keras.Input((16, 16, 3), batch_size=1)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(12, 3, activation="relu")(image))
    x = keras.layers.Dense(8, activation="relu", name="hidden")(x)
    network = keras.Model(image, keras.layers.Dense(5, activation="softmax")(x))
    model = dense_as_convolutions(bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert()))
    fitted = TfliteGraph(reconstruct(model, collect_statistics(model, images, SPEC)[0], images, SPEC, Silent()))
    image_layer, hidden = fitted.named("CONV_2D")
    assert not np.array_equal(fitted.constant(image_layer.weights), TfliteGraph(model).constant(image_layer.weights))
    assert np.array_equal(fitted.constant(hidden.weights), TfliteGraph(model).constant(hidden.weights))
    assert np.array_equal(fitted.constant(hidden.bias), TfliteGraph(model).constant(hidden.bias))
