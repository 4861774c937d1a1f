"""Filters with tiny weights and a large bias: they answer their bias, whatever the kind of layer and of integers.

The oracle is the bias itself: weights of 1e-14 add nothing to it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from convert.audit.inspection import inspect_model
from convert.images.dataset import find_images
from convert.quantization import quantize as quantize_module
from convert.quantization.bias_range import LARGEST_BIAS, RaisedScales, fit_biases
from convert.quantization.calibrate import CalibrationOptions, calibrate
from convert.quantization.quantize import QuantizedModel, quantize
from convert.quantization.quantizer_adapter import apply_rules
from convert.quantization.schemes import INT8, SCHEMES, Recipe
from convert.quantization.statistics import ActivationStatistics, collect_statistics
from convert.system.progress import Silent
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from convert.tflite.operators import CHANNEL_AXIS
from edge_runtime import InputSpec
from edge_runtime.preprocess import Pixels
from edge_runtime.tensors import dequantize, encode
from tests.convert.networks import residual_network

SPEC = InputSpec(12, 12, mean=(127.5,) * 3, std=(127.5,) * 3)
BIAS = 1.5
DEAD = (1, 4)
"""Filters that weight decay killed, in every layer."""
TINY = 1e-14


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    return list(np.random.default_rng(2).integers(0, 256, (8, 12, 12, 3), np.uint8))


@pytest.fixture(scope="module")
def network() -> bytes:
    """One layer of every kind with weights, each with dead filters; the last layer alone is the classifier."""
    image = keras.Input((12, 12, 3), batch_size=1, name="image")
    x = layers.Conv2D(6, 3, activation="relu", name="plain")(image)
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = layers.Conv2DTranspose(6, 3, activation="relu", name="transposed")(x)
    x = layers.Dense(6, activation="relu", name="hidden")(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(5, activation="softmax", name="classes")(x))
    random = np.random.default_rng(1)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = (random.normal(0, 0.3, weight.shape) for weight in layer.weights)
            if layer.name != "classes":
                by_filter = np.moveaxis(kernel, -2 if layer.name in ("depthwise", "transposed") else -1, 0)
                by_filter[list(DEAD)] *= TINY
                bias[list(DEAD)] = BIAS
            layer.set_weights([kernel, bias])
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


@pytest.fixture(scope="module")
def statistics(network: bytes, images: list[Pixels]) -> ActivationStatistics:
    return collect_statistics(network, images, SPEC)[0]


def worst_error(model: QuantizedModel, images: list[Pixels]) -> dict[str, float]:
    """How far each kind of layer is from the bias of its dead filters, in steps of its output."""
    graph, engine = TfliteGraph(model.model), RecordingEngine(model.model, with_xnnpack=False)
    engine.run(encode(images[0], SPEC, model.io_specs[0])[np.newaxis])
    errors = {}
    for operator in graph.operators:
        affine = graph.quantization(operator.outputs[0])
        if operator.name in CHANNEL_AXIS and graph.shape(operator.outputs[0])[-1] == 6:
            assert affine is not None
            answers = dequantize(engine.tensor(operator.outputs[0]), *affine)[..., DEAD]
            errors[operator.name] = float(np.abs(answers - BIAS).max()) / affine[0]
    assert errors.keys() == CHANNEL_AXIS.keys()
    return errors


@pytest.mark.parametrize(("scheme", "io"), [("int8", "int8"), ("int16x8", "float32")])
def test_dead_filters_answer_their_bias(
    scheme: str, io: str, network: bytes, statistics: ActivationStatistics, images: list[Pixels],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    recipe = Recipe(replace(SCHEMES[scheme], float_head=False), io)
    quantized = quantize(network, recipe, SPEC, statistics)
    assert max(worst_error(quantized, images).values()) <= 1
    assert quantized.raised.filters == 4 * len(DEAD)
    assert quantized.raised.of == 4 * 6 + 5
    monkeypatch.setattr(quantize_module, "fit_biases", lambda *_: RaisedScales())
    assert min(worst_error(quantize(network, recipe, SPEC, statistics), images).values()) > 10, "planted in vain"


def test_a_corrected_bias_still_fits(network: bytes, statistics: ActivationStatistics) -> None:
    """Half of the integers are left for it."""
    graph = TfliteGraph(quantize(network, Recipe(SCHEMES["int8"], "int8"), SPEC, statistics).model)
    for operator in (operator for kind in CHANNEL_AXIS for operator in graph.named(kind)):
        assert operator.bias is not None
        largest = np.abs(graph.constant(operator.bias).astype(np.float64)).max()
        assert largest <= LARGEST_BIAS["int32"] * 1.0001
        scales, weights, data = (graph.scales(i) for i in (operator.bias, operator.weights, operator.data))
        assert scales is not None
        assert weights is not None
        assert data is not None
        np.testing.assert_allclose(scales, weights * data[0], rtol=1e-6)


def test_long_biases_of_more_than_32_bits_are_kept() -> None:
    """litert-quantizer cuts them off at 32 bits, before it stores them in 64."""
    model = residual_network()
    graph = TfliteGraph(model)
    operator = graph.named("CONV_2D")[2]
    assert operator.bias is not None
    weights = graph.constant(operator.weights) * np.float32(1e-5)
    graph.set_constant(operator.weights, weights)
    graph.set_constant(operator.bias, np.linspace(0.3, 2, len(weights), dtype=np.float32))
    ranges = {graph.tensor_name(i): (-2.0, 2.0) for i in graph.activations}
    quantized = apply_rules(graph.to_bytes(), SCHEMES["int16x8"].rules, ranges, 16)
    fit_biases(quantized, graph)
    after = quantized.named("CONV_2D")[2]
    assert after.bias is not None
    assert quantized.dtype(after.bias) == "int64"
    assert quantized.constant(after.bias).max() > 2**31
    np.testing.assert_allclose(quantized.dequantized(after.bias), graph.constant(operator.bias), rtol=1e-6)


def test_nothing_changes_where_every_bias_fits() -> None:
    model = residual_network()
    graph = TfliteGraph(model)
    quantized = apply_rules(model, INT8, {graph.tensor_name(i): (-2.0, 2.0) for i in graph.activations}, 8)
    before = quantized.to_bytes()
    assert not fit_biases(quantized, graph).filters
    assert quantized.to_bytes() == before


def test_the_whole_calibration_keeps_dead_filters(
    network: bytes, images: list[Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With equalization, GPTQ and bias correction: answers survive, and the audit finds no bias that was cut off."""
    for i, pixels in enumerate(images):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    found = find_images(tmp_path)
    recipe, options = Recipe(SCHEMES["int8"], "float32"), CalibrationOptions()
    calibration = calibrate(network, SPEC, found, found, options, Silent())
    assert calibration.evaluator is not None
    quantized = calibration.quantize(recipe, SPEC)
    checks = [finding.check for finding in inspect_model(quantized.model).findings]
    assert not {"bias-saturated", "weights-hardly-used"} & set(checks)
    monkeypatch.setattr(quantize_module, "fit_biases", lambda *_: RaisedScales())
    damaged = calibration.quantize(recipe, SPEC)
    assert "bias-saturated" in [finding.check for finding in inspect_model(damaged.model).findings]
    scores = [calibration.evaluator.score(model).sqnr_db for model in (quantized, damaged)]
    assert scores[0] > scores[1] + 6


def test_what_was_raised_is_told_in_one_line() -> None:
    assert str(RaisedScales()) == ""
    assert str(RaisedScales(1, 40)) == "1 of 40 filters has weights too small for its bias: its scale was raised"
    assert str(RaisedScales(3, 4000)) == (
        "3 of 4,000 filters have weights too small for their bias: their scales were raised"
    )
