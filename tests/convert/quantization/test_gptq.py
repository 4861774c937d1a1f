"""Rounding with feedback keeps the outputs, stays on the int8 grid, and touches nothing but convolutions."""

from __future__ import annotations

from itertools import product
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from convert.errors import QuantizationError
from convert.quantization import gptq as module
from convert.quantization import second_moments
from convert.quantization.gptq import damped, feedback_of, gptq, round_weights, rounded
from convert.quantization.quantize import quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.second_moments import SecondMoments, patches, windows
from convert.quantization.statistics import collect_statistics
from convert.system.progress import Silent
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from edge_runtime import InputSpec
from edge_runtime.preprocess import Pixels, normalize
from tests.convert.listeners import Listener

Array = npt.NDArray[Any]
SPEC = InputSpec(15, 18, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))


def problem(outputs: int, inputs: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Weights (outputs, inputs), moments of correlated non-negative inputs, and scales."""
    random = np.random.default_rng(seed)
    rows = np.maximum(random.normal(size=(500, inputs)) @ random.normal(size=(inputs, inputs)), 0)
    weights = random.uniform(-1, 1, (outputs, inputs)).astype(np.float32)
    return weights, damped((rows.T @ rows / len(rows)).astype(np.float32)), np.abs(weights).max(axis=1) / 127


def nearest(weights: Array, scales: Array) -> Array:
    return np.asarray(np.rint(weights / scales[:, np.newaxis]))


def output_error(weights: Array, integers: Array, moments: Array, scales: Array) -> Array:
    """E[((w - scale * q) . x)^2] of each output."""
    error = weights - scales[:, np.newaxis] * np.asarray(integers, np.float64)
    return np.asarray(np.einsum("oi,ij,oj->o", error, moments, error))


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    """Smooth noise: neighbouring pixels are alike, as in a photo."""
    coarse = np.random.default_rng(1).uniform(0, 255, (12, 3, 4, 3))
    return list(np.asarray(tf.image.resize(coarse, (15, 18)), np.uint8))


@pytest.fixture(scope="module")
def float_model() -> bytes:
    """Two convolutions that read the same, strides, dilation, both paddings, one depthwise, one dense."""
    keras.utils.set_random_seed(0)
    image = keras.Input((15, 18, 3), batch_size=1)
    x = keras.layers.Conv2D(8, 3, 2, activation="relu", name="stem")(image)
    wide = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="wide")(x)
    beside = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="beside")(x)
    x = keras.layers.Concatenate()([wide, beside])
    x = keras.layers.Conv2D(8, (1, 7), (2, 1), padding="same", activation="relu", name="row")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = keras.layers.Conv2D(8, 2, dilation_rate=2, padding="same", activation="relu", name="dilated")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    network = keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(5)(x)))
    return bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())


@pytest.fixture(scope="module")
def rounded_model(float_model: bytes, images: list[Pixels]) -> bytes:
    return round_weights(float_model, images, SPEC, Silent())


@pytest.mark.parametrize(("outputs", "inputs"), [(40, 3), (16, 40), (8, 32), (8, 33), (64, 150)])
def test_feedback_beats_nearest_rounding(outputs: int, inputs: int) -> None:
    weights, moments, scales = problem(outputs, inputs)
    integers = gptq(weights, feedback_of(moments), scales)
    assert np.array_equal(integers, np.rint(integers))
    assert np.abs(integers).max() == 127
    ours = output_error(weights, integers, moments, scales).sum()
    assert ours < 0.9 * output_error(weights, nearest(weights, scales), moments, scales).sum()


@pytest.mark.parametrize("seed", range(5))
def test_tiny_problems_against_every_way_of_rounding(seed: int) -> None:
    weights, moments, scales = problem(20, 4, seed)
    weights[:, 0], scales = 1, np.full(20, 1 / 127, np.float32)  # the peak, which has no choice
    down = np.floor(weights / scales[:, np.newaxis])
    ways = [output_error(weights, down + np.array((0, *up)), moments, scales) for up in product((0, 1), repeat=3)]
    ours, best = (
        output_error(weights, gptq(weights, feedback_of(moments), scales), moments, scales),
        np.min(ways, axis=0),
    )
    diagonal = np.diag(np.linalg.cholesky(moments[::-1, ::-1])) ** 2
    assert np.all(ours <= scales**2 * diagonal.sum() / 4 * (1 + 1e-4)), "the bound of Babai's nearest plane"
    assert best.sum() <= ours.sum() * (1 + 1e-6)
    assert ours.sum() < 1.5 * best.sum()


def test_uncorrelated_inputs_are_rounded_to_nearest() -> None:
    weights, moments, scales = problem(16, 70)
    assert np.array_equal(gptq(weights, feedback_of(np.diag(np.diag(moments))), scales), nearest(weights, scales))


def test_feedback_is_a_factor_of_the_moments_read_from_their_upper_triangle() -> None:
    _, moments, _ = problem(1, 40)
    feedback = feedback_of(np.triu(moments)).astype(np.float64)
    assert np.array_equal(np.triu(feedback, 1), np.zeros((40, 40)))
    assert np.array_equal(np.diag(feedback), np.ones(40))
    middle = np.linalg.solve(feedback.T, np.linalg.solve(feedback.T, moments).T)
    assert np.allclose(middle, np.diag(np.diag(middle)), atol=1e-3 * np.diag(middle).max())
    with pytest.raises(QuantizationError, match="not positive definite: check that the images of --calibration differ"):
        feedback_of(-moments)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, moments, scales = problem(6, 50)
    whole = gptq(weights, feedback_of(moments), scales)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert np.array_equal(gptq(weights, feedback_of(moments), scales), whole)


def test_weights_on_the_grid_stay() -> None:
    weights, moments, _ = problem(16, 40)
    once = rounded(weights.reshape(16, 2, 2, 10), feedback_of(moments))
    assert np.array_equal(rounded(once, feedback_of(moments)), once)
    assert np.array_equal(np.abs(once).max(axis=(1, 2, 3)), np.abs(weights).max(axis=1))


def test_empty_channels_and_inactive_inputs() -> None:
    weights = np.zeros((3, 1, 1, 4), np.float32)
    weights[1] = (0.1, -0.2, 0.3, 1.27)
    result = rounded(weights, feedback_of(damped(np.zeros((4, 4), np.float32))))
    assert np.allclose(result, weights, atol=1e-6)
    with pytest.raises(QuantizationError, match="not finite"):
        damped(np.full((4, 4), np.inf, np.float32))


def test_patches_times_weights_is_the_convolution(float_model: bytes, images: list[Pixels]) -> None:
    graph, engine = TfliteGraph(float_model), RecordingEngine(float_model)
    engine.run(normalize(images[0], SPEC)[np.newaxis])
    found = windows(graph)
    assert sorted(map(len, found.values())) == [1, 1, 1, 2]
    for window, operators in found.items():
        seen = patches(engine.tensor(window.tensor)[0], window, np.arange(window.output[0] * window.output[1]))
        for operator in operators:
            weights, bias = (graph.constant(i) for i in operator.inputs[1:])
            expected = np.maximum(seen @ weights.reshape(len(weights), -1).T + bias, 0)
            assert np.allclose(expected, engine.tensor(operator.outputs[0])[0].reshape(expected.shape), atol=1e-5)


def test_moments_are_means_of_products(
    float_model: bytes, images: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_moments, "POSITIONS", 10**6)
    graph, engine = TfliteGraph(float_model), RecordingEngine(float_model)
    window = list(windows(graph))[1]
    observer, rows = SecondMoments(window), []
    for pixels in images:
        engine.run(normalize(pixels, SPEC)[np.newaxis])
        observer.add(engine.tensor(window.tensor)[0], seed=0)
        rows.append(patches(engine.tensor(window.tensor)[0], window, np.arange(np.prod(window.output))))
    expected = np.mean([row.T @ row / len(row) for row in rows], axis=0)
    found = observer.mean()
    assert np.allclose(np.triu(found), np.triu(expected), rtol=1e-4, atol=1e-6)


def test_a_thread_does_what_four_do(float_model: bytes, images: list[Pixels], monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for cores in ({0}, {0, 1, 2, 3}):
        monkeypatch.setattr("os.sched_getaffinity", lambda process, cores=cores: cores)
        results.append(round_weights(float_model, images, SPEC, Silent()))
    assert results[0] == results[1]


def test_only_convolutions_change(float_model: bytes, rounded_model: bytes) -> None:
    before, after = TfliteGraph(float_model), TfliteGraph(rounded_model)
    convolved = {operator.inputs[1] for operator in before.named("CONV_2D")}
    assert before.named("DEPTHWISE_CONV_2D")
    assert before.named("FULLY_CONNECTED")
    assert len(convolved) == 5
    for i in filter(before.is_constant, before.tensors):
        assert np.array_equal(before.constant(i), after.constant(i)) == (i not in convolved)


def test_quantizer_finds_the_same_integers(float_model: bytes, rounded_model: bytes, images: list[Pixels]) -> None:
    statistics = collect_statistics(float_model, images, SPEC)[0]
    quantized = TfliteGraph(quantize(rounded_model, Recipe(SCHEMES["int8"], "float32"), SPEC, statistics).model)
    graphs = (quantized, TfliteGraph(rounded_model), TfliteGraph(float_model))
    for ours, values, original in zip(*(graph.named("CONV_2D") for graph in graphs), strict=True):
        scales = quantized.scales(ours.inputs[1])
        assert scales is not None
        peaks = np.abs(graphs[2].constant(original.inputs[1])).max(axis=(1, 2, 3))
        assert np.array_equal(scales, peaks / np.float32(127))
        exact = quantized.constant(ours.inputs[1]) * scales.reshape(-1, 1, 1, 1)
        assert np.allclose(exact, graphs[1].constant(values.inputs[1]), rtol=1e-6, atol=0)


def test_several_passes_and_progress(
    float_model: bytes, rounded_model: bytes, images: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_MEMORY", 1)
    monkeypatch.setattr(second_moments, "POSITIONS", 10**6)
    listener = Listener()
    several = round_weights(float_model, images, SPEC, listener)
    assert several == round_weights(float_model, images, SPEC, Silent()), "deterministic"
    assert listener.counts == [(done, 52) for done in range(1, 53)]
    monkeypatch.setattr(module, "MOST_MEMORY", 2**30)
    assert several == round_weights(float_model, images, SPEC, Silent())
    assert len(several) == len(rounded_model)


def test_no_image_is_refused(float_model: bytes) -> None:
    with pytest.raises(QuantizationError, match="--calibration"):
        round_weights(float_model, [], SPEC, Silent())
