"""Graphs damaged by hand, each in one way, and networks that waste something: what the audit finds, and what not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click.testing
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from convert.cli.inspect import inspect as command
from convert.quantization.statistics import collect_statistics
from convert.tflite.graph import TfliteGraph
from tests.convert.audit.auditing import IMAGES, audit, found
from tests.convert.audit.damage import BUILTIN, DAMAGES, TYPES, activation, insert, insert_a_float_island, set_scale
from tests.convert.networks import SPEC, convolution, lowered, new_image


@pytest.mark.parametrize(("damage", "check", "severity"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_and_named(
    damage: Callable[[TfliteGraph], None], check: str, severity: str, int8: TfliteGraph, tmp_path: Path
) -> None:
    assert check not in found(audit(int8.to_bytes(), tmp_path)), "not before"
    damage(int8)
    report = audit(int8.to_bytes(), tmp_path)
    assert found(report).get(check) == severity
    (entry,) = (entry for entry in report["findings"] if entry["check"] == check)
    assert len(entry["where"]) >= 1
    assert entry["remedy"]


@pytest.mark.parametrize("damage", [set_scale(activation, 0.0), set_scale(activation, 1e36)])
def test_a_model_whose_scales_cannot_be_right_is_not_really_int8(
    damage: Callable[[TfliteGraph], None], int8: TfliteGraph, tmp_path: Path
) -> None:
    damage(int8)
    path = tmp_path / "model.tflite"
    path.write_bytes(int8.to_bytes())
    result = click.testing.CliRunner().invoke(command, [str(path), "--require", "int8"])
    assert result.exit_code == 3
    assert "its integers cannot be right: 1 tensor with a scale" in result.stderr


def test_an_island_is_named_with_the_tensors_at_its_borders(int8: TfliteGraph, tmp_path: Path) -> None:
    before = int8.tensor_name(activation(int8))
    insert_a_float_island(int8)
    report = audit(int8.to_bytes(), tmp_path)
    assert report["verdict"]["kind"] == "mixed"
    assert report["verdict"]["text"] == (
        "NOT int8 throughout: 9 of 9 convolutions int8 per channel; float island of 2 operators; "
        "float head of 3 operators"
    )
    island, head = report["float_runs"]
    assert (island["role"], head["role"]) == ("island", "head")
    assert [name.split(" ")[0] for name in island["operators"]] == ["EXP", "NEG"]
    assert island["reads"] == [before]
    assert island["writes"] == [int8.tensor_name(int8.tensors[-1])]
    assert [name.split(" ")[0] for name in head["operators"]] == ["MEAN", "FULLY_CONNECTED", "SOFTMAX"]


def test_float_operators_before_the_first_integers_are_a_stem(
    of_scheme: Callable[[str, str], bytes], tmp_path: Path
) -> None:
    graph = TfliteGraph(of_scheme("int8", "float32"))
    insert(graph, graph.inputs[0], BUILTIN.NEG, "float32")
    report = audit(graph.to_bytes(), tmp_path)
    assert found(report)["float-stem"] == "warning"
    assert report["verdict"]["kind"] == "mixed"
    assert report["float_runs"][0]["role"] == "stem"
    assert report["float_runs"][0]["reads"] == [graph.tensor_name(graph.inputs[0])]


def test_what_integers_pass_to_the_end_is_no_island(of_scheme: Callable[[str, str], bytes], tmp_path: Path) -> None:
    """A QUANTIZE after the float head, for an integer output."""
    graph = TfliteGraph(of_scheme("int8", "uint8"))
    last = graph.outputs[0]
    insert(graph, graph.named("SOFTMAX")[0].inputs[0], BUILTIN.EXP, "float32")
    code, operator, made = schema.OperatorCodeT(), schema.OperatorT(), schema.TensorT()
    code.builtinCode = code.deprecatedBuiltinCode = BUILTIN.QUANTIZE
    made.name, made.type, made.shape, made.buffer = b"answer", TYPES["int8"], list(graph.shape(last)), 0
    made.quantization = schema.QuantizationParametersT()
    made.quantization.scale, made.quantization.zeroPoint = np.float32([1 / 256]), np.int64([-128])
    graph._model.operatorCodes.append(code)
    graph._graph.tensors.append(made)
    operator.opcodeIndex = len(graph._model.operatorCodes) - 1
    operator.inputs, operator.outputs = [last], [graph.tensors[-1]]
    graph._graph.operators.append(operator)
    graph._graph.outputs = [graph.tensors[-1]]
    report = audit(graph.to_bytes(), tmp_path)
    assert report["verdict"]["kind"] == "int8"
    assert [run["role"] for run in report["float_runs"]] == ["head"]
    assert report["ends"]["output"]["dtype"] == "int8"


def test_a_change_of_scale_between_integers_is_a_note(int8: TfliteGraph, tmp_path: Path) -> None:
    """A pool and the branch beside it differ in scale, and CONCATENATION needs one scale."""
    (entry,) = (entry for entry in audit(int8.to_bytes(), tmp_path)["findings"])
    assert (entry["check"], entry["severity"]) == ("requantization", "note")
    (place,) = entry["where"]
    pooled = int8.tensor_name(int8.named("MAX_POOL_2D")[0].outputs[0])
    assert place.split(" -> ")[0] == pooled


def test_tensorflow_1_quantized_to_uint8(int8: TfliteGraph, tmp_path: Path) -> None:
    for tensor in int8._graph.tensors:
        if tensor.type == TYPES["int8"]:
            tensor.type = schema.TensorType.UINT8
    report = audit(int8.to_bytes(), tmp_path)
    assert report["verdict"]["kind"] == "uint8"
    assert found(report)["zero-point-invalid"] == "error", "they were those of int8"


def with_float_tail(float_model: bytes, first: int) -> bytes:
    """Quantize a model to int8, except for its operators from position `first` on."""
    from litert_quantizer import quantizer

    graph, statistics = TfliteGraph(float_model), collect_statistics(float_model, IMAGES, SPEC)[0]
    ranges = {
        key: {"min": np.float32([[[[low.min()]]]]), "max": np.float32([[[[statistics.maximum[key].max()]]]])}
        for key, low in statistics.minimum.items()
    }
    worker = quantizer.Quantizer(bytearray(float_model))
    worker.add_static_config(".*", "*", 8, 8)
    for operator in list(graph.operators)[first:]:
        name = re.escape(graph.tensor_name(operator.outputs[0]))
        worker.update_quantization_recipe(f"{name};?$", "*", algorithm_key="no_quantize")
    worker.update_quantization_recipe(".*", "OUTPUT", algorithm_key="no_quantize")
    return bytes(worker.quantize(ranges).quantized_model)


def network_of(*kinds: str) -> bytes:
    """Build a chain of convolutions ("conv"), pools ("pool") and dense operators ("dense"), with a softmax."""
    x = image = new_image()
    for i, kind in enumerate(kinds):
        layer = {
            "conv": layers.Conv2D(5, 3, activation="relu", name=f"layer{i}"),
            "pool": layers.GlobalAveragePooling2D(),
            "dense": layers.Dense(5, activation="relu", name=f"layer{i}"),
        }[kind]
        x = layer(x)
    keras.utils.set_random_seed(2)
    model = keras.Model(image, layers.Softmax()(x))
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


@pytest.mark.parametrize(
    ("kinds", "first", "kind", "text"),
    [
        (("conv", "conv", "pool", "dense"), 2, "int8", "integer: 2 of 2 convolutions int8 per channel; float head of"),
        (("conv", "conv", "pool"), 2, "int8", "integer: 2 of 2 convolutions int8 per channel; float head of"),
        (("conv", "conv", "pool"), 1, "mixed", "NOT int8 throughout: 1 of 2 convolutions int8 per channel; float head"),
        (("conv", "pool", "dense", "dense"), 1, "mixed", "NOT int8 throughout: 1 of 1 convolution int8 per channel; "
         "float head of 4 operators, 2 of them with weights"),
        (("conv", "pool", "dense", "dense"), 3, "int8", "integer: 1 of 1 convolution int8 per channel, 1 of 1 dense"),
    ],
)  # fmt: skip
def test_a_float_head_may_pool_and_have_one_dense_operator(
    kinds: tuple[str, ...], first: int, kind: str, text: str, tmp_path: Path
) -> None:
    report = audit(with_float_tail(network_of(*kinds), first), tmp_path)
    assert report["verdict"]["kind"] == kind
    assert report["verdict"]["text"].startswith(text)


@pytest.mark.parametrize(
    ("padding", "inserted", "unfolded"),
    [
        ("valid", ["MUL", "ADD"], ["MUL", "ADD"]),
        ("same", ["MUL", "ADD"], []),  # zeros around a sum are not the sum of zeros
        ("same", ["ADD", "MUL"], ["MUL"]),
        ("same", ["MUL"], ["MUL"]),
    ],
)
def test_what_stands_before_a_convolution_could_have_been_folded_unless_it_is_a_sum_and_padded(
    padding: str, inserted: list[str], unfolded: list[str], tmp_path: Path
) -> None:
    image = new_image()
    graph = TfliteGraph(lowered(image, layers.GlobalAveragePooling2D()(convolution(image, 4, "c", padding=padding))))
    tensor = graph.inputs[0]
    for name in inserted:
        tensor = insert(graph, tensor, getattr(BUILTIN, name), "float32", constant=2.0)
    report = audit(graph.to_bytes(), tmp_path)
    where = [name for entry in report["findings"] if entry["check"] == "constant-unfolded" for name in entry["where"]]
    assert [name.split(" ")[0] for name in where] == unfolded


def test_a_product_after_a_convolution_could_have_been_folded_unless_something_is_fused(tmp_path: Path) -> None:
    image = new_image()
    linear = lowered(image, layers.GlobalAveragePooling2D()(convolution(image, 4, "only", activation=None)))
    graph = TfliteGraph(linear)
    insert(graph, graph.named("CONV_2D")[0].outputs[0], BUILTIN.MUL, "float32", constant=2.0)
    assert found(audit(graph.to_bytes(), tmp_path))["constant-unfolded"] == "warning"
    graph.named("CONV_2D")[0].options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    assert "constant-unfolded" not in found(audit(graph.to_bytes(), tmp_path))
