"""`irv2-inspect` on every scheme and on foreign models: is it really int8, and how is it reported?"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click.testing
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from convert.audit.inspection import Inspection
from convert.cli.inspect import inspect as command
from convert.quantization.quantize import quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import collect_statistics
from convert.tflite.graph import TfliteGraph
from tests.conftest import run_command
from tests.convert.audit.auditing import IMAGES, audit, found
from tests.convert.audit.damage import BUILTIN, activation, insert_a_round_trip, set_scale, weights_of
from tests.convert.networks import SPEC, new_image, plain_dynamic
from tests.edge_runtime.tiny_model import tiny_artifact


@pytest.mark.parametrize(
    ("scheme", "io", "kind", "text"),
    [
        ("none", "float32", "float", "NOT int8: float: 0 of 9 convolutions int8, 0 of 1 dense operator int8"),
        ("float16", "float32", "float16", "NOT int8: float, weights stored in 16 bits: 0 of 9 convolutions int8"),
        ("dynamic", "float32", "dynamic", "NOT int8: weights only (dynamic), activations are float: 0 of 9"),
        ("int8", "uint8", "int8", "integer: 9 of 9 convolutions int8 per channel; float head of 3 operators"),
        ("int8", "float32", "int8", "integer: 9 of 9 convolutions int8 per channel; float stem of 1 operator; float h"),
        ("int8", "int8", "int8", "integer: 9 of 9 convolutions int8 per channel, 1 of 1 dense operator int8 per ch"),
        ("int16x8", "float32", "int16x8", "integer, NOT int8: activations of 16 bits: 9 of 9 convolutions int16x8"),
    ],
)
def test_every_scheme_is_seen_for_what_it_is(
    scheme: str, io: str, kind: str, text: str, of_scheme: Callable[[str, str], bytes], tmp_path: Path
) -> None:
    report = audit(of_scheme(scheme, io), tmp_path)
    assert report["verdict"]["kind"] == kind
    assert report["verdict"]["text"].startswith(text)
    assert report["float_activations"] == (io != "int8")
    assert set(found(report)) <= {"runtime-overpromised"}


def test_a_layer_kept_in_float_is_an_island_of_the_mixed_scheme(float_model: bytes, tmp_path: Path) -> None:
    graph = TfliteGraph(float_model)
    kept = graph.tensor_name(graph.named("CONV_2D")[4].outputs[0])
    statistics = collect_statistics(float_model, IMAGES, SPEC)[0]
    model = quantize(float_model, Recipe(SCHEMES["mixed"], "uint8", (kept,)), SPEC, statistics).model
    report = audit(model, tmp_path)
    assert report["verdict"]["kind"] == "mixed"
    assert report["verdict"]["text"] == (
        "NOT int8 throughout: 8 of 9 convolutions int8 per channel; "
        "float island of 1 operator, 1 of them with weights; float head of 3 operators"
    )
    assert report["float_runs"][0]["operators"] == [f"CONV_2D {kept}"]


def foreign(representative: bool = False, **settings: Any) -> bytes:
    """Convert a network with a grouped, a depthwise and a dense operator with the plain TFLiteConverter."""
    keras.utils.set_random_seed(1)
    image = new_image()
    x = layers.DepthwiseConv2D(3, activation="relu")(layers.Conv2D(32, 3, activation="relu")(image))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(64, 3, groups=2, activation="relu")(x))
    model = keras.Model(image, layers.Dense(20, activation="softmax")(x))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if representative:
        converter.representative_dataset = lambda: ([image[None].astype(np.float32) / 127.5 - 1] for image in IMAGES)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = settings.pop("supported_types", [])
    for name, value in settings.items():
        setattr(converter, name, value)
    return bytes(converter.convert())


@pytest.mark.parametrize(
    ("settings", "kind", "float_activations"),
    [
        ({}, "dynamic", True),
        ({"supported_types": [tf.float16]}, "float16", True),
        ({"representative": True}, "int8", True),
        ({"representative": True, "inference_input_type": tf.int8, "inference_output_type": tf.int8}, "int8", False),
    ],
)
def test_a_foreign_model_is_audited_without_a_card(
    settings: dict[str, Any], kind: str, float_activations: bool, tmp_path: Path
) -> None:
    report = audit(foreign(**settings), tmp_path)
    assert (report["verdict"]["kind"], report["float_activations"]) == (kind, float_activations)
    assert report["card"] is report["labels"] is report["checksum"] is None
    assert [(layer["operator"], layer["channels"]) for layer in report["layers"]] == [
        ("CONV_2D", 32),
        ("DEPTHWISE_CONV_2D", 32),
        ("CONV_2D", 64),
        ("FULLY_CONNECTED", 20),
    ]


def test_an_operator_without_inputs_is_no_damage(int8: TfliteGraph, tmp_path: Path) -> None:
    """VAR_HANDLE, as recurrent networks have it."""
    code, variable, made = schema.OperatorCodeT(), schema.OperatorT(), schema.TensorT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = BUILTIN.VAR_HANDLE, 127, 1
    made.name, made.type, made.shape = b"handle", schema.TensorType.RESOURCE, []
    int8._graph.tensors.append(made)
    int8._model.operatorCodes.append(code)
    variable.opcodeIndex, variable.outputs = len(int8._model.operatorCodes) - 1, [int8.tensors[-1]]
    int8._graph.operators.insert(0, variable)
    report = audit(int8.to_bytes(), tmp_path)
    assert report["verdict"]["kind"] == "int8"
    assert report["compute"]["resource"] == report["operators"]["VAR_HANDLE"] == 1


def test_weights_that_are_unpacked_at_run_time_are_no_integer_arithmetic(float_model: bytes, tmp_path: Path) -> None:
    from litert_quantizer import quantizer

    worker = quantizer.Quantizer(bytearray(float_model))
    worker.add_weight_only_config(".*", "*", 8)
    assert audit(bytes(worker.quantize().quantized_model), tmp_path)["verdict"]["kind"] == "weights-only"


@pytest.mark.parametrize(
    ("scheme", "io", "requirement", "code"),
    [
        ("int8", "uint8", "int8", 0),
        ("int8", "int8", "all-int8", 0),
        ("int8", "uint8", "all-int8", 3),
        ("int8", "float32", "all-int8", 3),
        ("int16x8", "float32", "int8", 3),
        ("dynamic", "float32", "int8", 3),
        ("none", "float32", "int8", 3),
    ],
)
def test_a_requirement_that_is_not_met_exits_with_3(
    scheme: str, io: str, requirement: str, code: int, of_scheme: Callable[[str, str], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(of_scheme(scheme, io))
    result = click.testing.CliRunner().invoke(command, [str(path), "--require", requirement], prog_name="irv2-inspect")
    assert result.exit_code == code, result.output
    assert bool(result.stderr) == (code != 0)
    if code:
        assert result.stderr.startswith(f"irv2-inspect: {requirement} was required: ")
        assert result.stderr.count("\n") == 1
    else:
        assert result.stdout.splitlines()[-1] == f"{requirement} was required: it is"


def test_the_verdict_comes_first_then_the_problems_with_a_remedy_each(int8: TfliteGraph, tmp_path: Path) -> None:
    insert_a_round_trip(int8)
    set_scale(activation, 0.0)(int8)
    path = tmp_path / "model.tflite"
    path.write_bytes(int8.to_bytes())
    finished = run_command("irv2-inspect", path)
    assert finished.code == 0, finished.err
    lines = finished.out.splitlines()
    assert lines[0] == "integer: 9 of 9 convolutions int8 per channel; float head of 3 operators"
    first = [line.split()[0] for line in lines[1:] if line and not line.startswith(" ")]
    assert first[:3] == ["error", "warning", "note"]
    assert sum(line.strip().startswith("-> ") for line in lines) == 3
    assert first[3] == "file"


def test_the_keys_of_the_report_are_the_documented_ones(int8: TfliteGraph, tmp_path: Path) -> None:
    report = audit(int8.to_bytes(), tmp_path)
    assert set(report) == {field.name for field in fields(Inspection)} | {"card", "labels", "checksum", "target"}
    documentation = inspect.getdoc(Inspection) or ""
    assert all(re.search(rf"^ *{field.name}: ", documentation, re.MULTILINE) for field in fields(Inspection))
    assert report["format"] == 1
    assert report["target"] is None


def test_an_artifact_is_shown_with_its_card(tmp_path: Path) -> None:
    path = tiny_artifact().write(tmp_path / "tiny.tflite")
    finished = run_command("irv2-inspect", path)
    assert finished.code == 0, finished.err
    assert "tiny, mean colour, scheme none, checksums hold" in finished.out
    assert "red, green, blue" in finished.out
    assert "not measured" in finished.out


@pytest.mark.parametrize("drift", [{}, "excellent", {"agreement_top1": "high", "images": None, "verdict": 7}])
def test_a_forged_card_that_says_something_else_is_one_line(drift: Any, tmp_path: Path) -> None:
    artifact = tiny_artifact()
    path = replace(artifact, card=replace(artifact.card, drift=drift)).signed().write(tmp_path / "tiny.tflite")
    finished = run_command("irv2-inspect", path)
    assert (finished.code, finished.out, finished.err.count("\n")) == (1, "", 1)
    assert f"{path}: its card is not one of" in finished.err


@pytest.mark.parametrize("length", [40, 200, 4000])
def test_a_file_that_is_cut_off_is_one_line(length: int, float_model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(float_model[:length])
    result = click.testing.CliRunner().invoke(command, [str(path)])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert str(path) in result.stderr


def test_a_graph_that_points_at_tensors_it_has_not_is_one_line(int8: TfliteGraph, tmp_path: Path) -> None:
    int8._graph.operators[3].inputs[0] = 100_000
    path = tmp_path / "model.tflite"
    path.write_bytes(int8.to_bytes())
    result = click.testing.CliRunner().invoke(command, [str(path)])
    assert result.exit_code == 1
    assert re.search(r"model\.tflite is damaged, its graph does not hold together .*: copy it again\n$", result.stderr)


def test_a_target_runtime_that_is_too_old_exits_with_1_and_names_what_it_lacks(
    float_model: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(plain_dynamic(float_model))
    runner = click.testing.CliRunner()
    refused = runner.invoke(command, [str(path), "--json", "--target-runtime", "tflite-runtime-2.14"])
    assert refused.exit_code == 1
    assert "FULLY_CONNECTED of float32 by int8 weights per-channel (since tensorflow-2.16)" in refused.stderr
    assert json.loads(refused.stdout)["target"] == {
        "name": "tflite-runtime-2.14",
        "lacks": [
            {"need": "FULLY_CONNECTED of float32 by int8 weights per-channel", "since": "tensorflow-2.16"},
        ],
    }
    accepted = runner.invoke(command, [str(path), "--json", "--target-runtime", "litert-1.0"])
    assert accepted.exit_code == 0
    assert json.loads(accepted.stdout)["target"] == {"name": "litert-1.0", "lacks": []}


def test_an_unknown_runtime_lists_the_known_ones_before_the_file_is_read(tmp_path: Path) -> None:
    result = click.testing.CliRunner().invoke(command, [str(tmp_path / "missing"), "--target-runtime", "tflite-9"])
    assert result.exit_code == 1
    assert "runtime 'tflite-9' is unknown: choose from tflite-runtime-2.7, " in result.stderr
    assert "litert-1.0" in result.stderr


def test_errors_come_first(float_model: bytes, tmp_path: Path) -> None:
    graph = TfliteGraph(plain_dynamic(float_model))
    graph.set_metadata("min_runtime_version", b"2.14.0")
    set_scale(weights_of, -1)(graph)
    findings = audit(graph.to_bytes(), tmp_path)["findings"]
    assert {"scale-invalid", "runtime-overpromised"} <= {finding["check"] for finding in findings}
    severities = [finding["severity"] for finding in findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
