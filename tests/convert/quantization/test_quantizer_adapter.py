"""What we need of the quantizer: scales and zero points by the specification, integers to nearest, rules obeyed."""

from __future__ import annotations

import ast
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import convert
from convert.quantization import quantizer_adapter
from convert.quantization.dense_layers import dense_as_convolutions
from convert.quantization.quantizer_adapter import Ranges, apply_rules
from convert.quantization.schemes import ALL, DYNAMIC, FLOAT16, INT8, INT16X8, IO_RULES, Rule, keep_float
from convert.tflite.graph import TfliteGraph
from tests.convert.networks import residual_network

RANGE = (-0.5, 3.0)


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_network()


def applied(model: bytes, rules: tuple[Rule, ...], span: tuple[float, float] = RANGE) -> TfliteGraph:
    """The network quantized with one range for all of its activations."""
    return apply_rules(model, rules, ranges(model, span))


def ranges(model: bytes, span: tuple[float, float]) -> Ranges:
    graph = TfliteGraph(model)
    return {graph.tensor_name(i): span for i in graph.tensors if graph.is_activation(i)}


def test_only_one_module_imports_the_quantizer() -> None:
    root = Path(convert.__file__).parent
    importing = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "litert_quantizer"
    ]
    assert set(importing) == {"quantization/quantizer_adapter.py"}


def test_no_rule_changes_nothing(model: bytes) -> None:
    assert applied(model, ()).to_bytes() == TfliteGraph(model).to_bytes()


@pytest.mark.parametrize("rules", [INT8, INT16X8, DYNAMIC])
def test_weights_are_rounded_to_nearest_on_127_steps_per_output_channel(model: bytes, rules: tuple[Rule, ...]) -> None:
    before, after = TfliteGraph(model), applied(model, rules)
    for source, operator in zip(before.named("CONV_2D"), after.named("CONV_2D"), strict=True):
        weights, scales = before.constant(source.weights), after.scales(operator.weights)
        peaks = np.abs(weights).max(axis=(1, 2, 3))
        assert scales is not None
        assert after.dtype(operator.weights) == "int8"
        assert np.array_equal(scales, peaks / np.float32(127))
        expected = np.rint(weights / scales.reshape(-1, 1, 1, 1))
        assert np.array_equal(after.constant(operator.weights), expected)


@pytest.mark.parametrize("rules", [INT8, INT16X8, DYNAMIC, FLOAT16, (*INT8, keep_float("CONV_2D"))])
def test_weights_that_the_quantizer_cannot_take_come_out_alike(
    model: bytes, rules: tuple[Rule, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = applied(model, rules).to_bytes()
    monkeypatch.setattr(quantizer_adapter, "LARGEST", 100)
    assert applied(model, rules).to_bytes() == expected


def test_weights_of_more_than_32_mib_are_quantized() -> None:
    """As the first dense layer of a VGG16 has them."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 300), batch_size=1)
    x = keras.layers.Dense(500, "relu")(keras.layers.Flatten()(image))
    network = keras.Model(image, keras.layers.Dense(3, "softmax")(x))
    large = dense_as_convolutions(bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert()))
    source = TfliteGraph(large).named("CONV_2D")[0]
    weights = TfliteGraph(large).constant(source.weights)
    assert weights.nbytes > 32 * 2**20
    after = applied(large, INT8)
    operator = after.named("CONV_2D")[0]
    scales = np.abs(weights).max(axis=(1, 2, 3)) / np.float32(127)
    assert np.array_equal(after.scales(operator.weights), scales)
    assert np.array_equal(after.constant(operator.weights), np.rint(weights / scales.reshape(-1, 1, 1, 1)))


def test_8_bit_activations_have_the_scale_and_zero_point_of_their_range(model: bytes) -> None:
    graph = applied(model, INT8)
    low, high = RANGE
    for operator in graph.named("CONV_2D"):
        scale, zero_point = graph.quantization(operator.outputs[0]) or (0.0, 0)
        assert scale == pytest.approx((high - low) / 255)
        assert zero_point == round(-128 - low / scale)


def test_16_bit_activations_are_symmetric(model: bytes) -> None:
    graph = applied(model, INT16X8)
    scale, zero_point = graph.quantization(graph.named("CONV_2D")[0].outputs[0]) or (0.0, 0)
    assert (scale, zero_point) == (pytest.approx(RANGE[1] / 32767), 0)


def test_biases_have_the_scale_of_their_products(model: bytes) -> None:
    graph = applied(model, INT8)
    for operator in graph.named("CONV_2D"):
        assert operator.bias is not None
        scale, _ = graph.quantization(operator.inputs[0]) or (0.0, 0)
        weights, bias = graph.scales(operator.weights), graph.scales(operator.bias)
        assert weights is not None
        assert bias is not None
        assert graph.dtype(operator.bias) == "int32"
        np.testing.assert_allclose(bias, scale * weights, rtol=1e-6)


@pytest.mark.parametrize("span", [(0.0, 0.0), (2.0, 3.0), (-3.0, -2.0)])
def test_ranges_are_extended_to_zero_and_never_empty(model: bytes, span: tuple[float, float]) -> None:
    graph = applied(model, INT8, span)
    scale, zero_point = graph.quantization(graph.named("CONV_2D")[0].outputs[0]) or (0.0, 0)
    assert scale == pytest.approx(max(abs(end) for end in span) / 255 or 1 / 255)
    assert zero_point in (-128, 127)


def test_half_precision_weights_are_computed_in_float(model: bytes) -> None:
    before, after = TfliteGraph(model), applied(model, FLOAT16)
    halves = {after.tensor_name(i): i for i in after.tensors if after.dtype(i) == "float16"}
    weights = [before.constant(operator.weights) for operator in before.named("CONV_2D")]
    found = [after.constant(i) for i in halves.values()]
    for values in weights:
        assert any(np.array_equal(values.astype(np.float16), half) for half in found)
    assert all(after.dtype(operator.outputs[0]) == "float32" for operator in after.named("CONV_2D"))


@pytest.mark.parametrize(
    ("io", "dtypes"), [("uint8", ("uint8", "float32")), ("int8", ("int8", "int8")), ("float32", ("float32", "float32"))]
)
def test_the_rules_of_the_ends_are_obeyed(model: bytes, io: str, dtypes: tuple[str, str]) -> None:
    graph = applied(model, (*INT8, *IO_RULES[io]))
    assert (graph.dtype(graph.inputs[0]), graph.dtype(graph.outputs[0])) == dtypes


def test_a_later_rule_leaves_a_named_operator_in_float(model: bytes) -> None:
    before = TfliteGraph(model)
    name = before.tensor_name(before.named("CONV_2D")[2].outputs[0])
    graph = applied(model, (*INT8, keep_float(ALL, f"^{name};?$")))
    dtypes = [graph.dtype(operator.weights) for operator in graph.named("CONV_2D")]
    assert [i for i, dtype in enumerate(dtypes) if dtype == "float32"] == [2]


def test_constants_are_written_inside_the_flatbuffer(model: bytes) -> None:
    assert not TfliteGraph(applied(model, INT8).to_bytes()).had_constants_outside


def test_nothing_is_printed(model: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    applied(model, (*INT8, *IO_RULES["uint8"]))
    assert capfd.readouterr() == ("", "")
