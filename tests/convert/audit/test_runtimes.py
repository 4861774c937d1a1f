"""Which runtimes can run a model: the table against the runtime installed here, and models against the table."""

from __future__ import annotations

import csv
import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema

from convert.audit import runtimes
from convert.audit.runtimes import (
    Need,
    check_target,
    needs,
    oldest_runtime,
    oldest_with,
    overpromised,
    refuse_newer,
    unmet,
)
from convert.errors import LoweringError, QuantizationError
from convert.tflite.graph import TfliteGraph
from tests.convert.networks import plain_dynamic, residual_network
from tests.edge_runtime.tiny_model import tiny_flatbuffer

SCRIPT = Path(__file__).parents[3] / "scripts" / "measure_runtimes.py"
TABLE = Path(runtimes.__file__).with_name(runtimes.TABLE)
PER_CHANNEL = "FULLY_CONNECTED:float32:int8:per-channel"


@pytest.fixture(scope="module")
def float_model() -> bytes:
    return residual_network()


@pytest.fixture(scope="module")
def dynamic(float_model: bytes) -> bytes:
    return plain_dynamic(float_model)


def with_operator(model: bytes, code: int, version: int, custom: bytes | None = None) -> bytes:
    """Add an operator code to a model that no operator of it uses."""
    graph, listed = TfliteGraph(model), schema.OperatorCodeT()
    listed.builtinCode, listed.deprecatedBuiltinCode, listed.version = code, min(code, 127), version
    listed.customCode = custom
    graph._model.operatorCodes.append(listed)
    return graph.to_bytes()


def test_the_table_has_what_the_runtime_here_opens_and_computes() -> None:
    """Measure the installed interpreter again, if the table has that release."""
    release = importlib.metadata.version("ai-edge-litert")
    with TABLE.open() as file:
        (_, *names), (_, *releases), *rows = csv.reader(file)
    if release not in releases:
        pytest.skip(f"ai-edge-litert {release} is not in the table")
    column = releases.index(release)
    known = {row: cells[column] for row, *cells in rows if cells[column] != "0"}
    done = subprocess.run(
        [sys.executable, SCRIPT, f"{names[column]}={sys.executable}"], check=True, capture_output=True, text=True
    )
    _, (_, measured_release), *measured = csv.reader(done.stdout.splitlines())
    assert measured_release == release
    assert {row: cell for row, cell in measured if cell != "0"} == known


def test_every_runtime_has_a_release_and_every_row_a_number_for_each() -> None:
    with TABLE.open() as file:
        (_, *names), (_, *releases), *rows = csv.reader(file)
    assert len(set(names)) == len(names) == len(releases) >= 20
    for name, release in zip(names, releases, strict=True):
        assert release.startswith(name.rpartition("-")[2] + ".")
    assert all(len(cells) == len(names) and all(cell.isdigit() for cell in cells) for _, *cells in rows)


def test_a_younger_runtime_has_every_operator_of_an_older_one() -> None:
    with TABLE.open() as file:
        _, _, *rows = csv.reader(file)
    for row, *cells in rows:
        if row.isupper() and ":" not in row:
            assert list(map(int, cells)) == sorted(map(int, cells)), row


@pytest.mark.parametrize(
    ("operator", "version", "tensorflow", "first"),
    [
        # TensorFlow's own statement (runtime_version.cc) beside what the wheels were measured to open: it is never
        # too late, and up to two releases too early.
        ("CONV_2D", 6, "2.9.0", "tflite-runtime-2.9"),
        ("CONV_2D", 7, "2.11.0", "tflite-runtime-2.12"),
        ("CONV_2D", 8, "2.15.0", "tensorflow-2.15"),
        ("DEPTHWISE_CONV_2D", 7, "2.11.0", "tflite-runtime-2.13"),
        ("FULLY_CONNECTED", 10, "2.11.0", "tflite-runtime-2.13"),
        ("FULLY_CONNECTED", 12, "2.17.0", "tensorflow-2.17"),
        ("STRIDED_SLICE", 8, "2.14.0", "tflite-runtime-2.14"),
        ("ADD", 5, "2.13.0", "tflite-runtime-2.13"),
    ],
)
def test_operators_came_when_tensorflow_says_or_later(operator: str, version: int, tensorflow: str, first: str) -> None:
    assert oldest_with([Need(operator, version, "")]) == first
    assert [int(part) for part in first.rpartition("-")[2].split(".")] >= [int(p) for p in tensorflow.split(".")[:2]]


def test_a_model_needs_its_operators_its_types_and_what_its_weighted_operators_compute(dynamic: bytes) -> None:
    rows = {need.row: need.version for need in needs(TfliteGraph(dynamic))}
    assert rows["CONV_2D"] == rows["CONCATENATION"] == rows["type-int8"] == rows["type-float32"] == 1
    assert {row for row in rows if ":" in row} == {"CONV_2D:float32:int8:per-channel", PER_CHANNEL}


def test_what_opens_but_answers_wrongly_is_refused(dynamic: bytes) -> None:
    """All versions are 1, but tflite-runtime 2.14 applies the first channel's scale to all channels."""
    assert max(version for _, version, _ in TfliteGraph(dynamic).operator_kinds()) == 1
    with pytest.raises(QuantizationError, match=r"tflite-runtime-2\.14 cannot run this model, it lacks FULLY_C"):
        refuse_newer(dynamic, "tflite-runtime-2.14")
    refuse_newer(dynamic, "tensorflow-2.16")
    assert oldest_runtime(dynamic) == "tensorflow-2.16"


@pytest.mark.parametrize("target", ["tflite-runtime-2.7", "tflite-runtime-2.14", "litert-1.0", "litert-2.3"])
def test_a_float_model_of_old_operators_runs_everywhere(target: str, float_model: bytes) -> None:
    refuse_newer(float_model, target)
    assert oldest_runtime(float_model) == "tflite-runtime-2.7"


def test_an_operator_that_is_too_new_is_named_with_its_version_and_where_it_came(float_model: bytes) -> None:
    """A runtime looks up every listed operator, used or not."""
    model = with_operator(float_model, schema.BuiltinOperator.CONV_2D, 8)
    with pytest.raises(QuantizationError) as caught:
        refuse_newer(model, "tflite-runtime-2.14")
    assert str(caught.value) == (
        "tflite-runtime-2.14 cannot run this model, it lacks CONV_2D version 8 (since tensorflow-2.15): "
        "tensorflow-2.15 is the oldest that can, or choose another scheme"
    )
    assert [need.text for need in unmet(needs(TfliteGraph(model)), "tflite-runtime-2.14")] == ["CONV_2D version 8"]


def test_a_custom_operator_is_in_no_runtime(float_model: bytes) -> None:
    model = with_operator(float_model, schema.BuiltinOperator.CUSTOM, 1, b"FlexErf")
    assert oldest_runtime(model) is None
    with pytest.raises(QuantizationError, match=r"lacks FlexErf \(custom\): none that was measured can"):
        refuse_newer(model, "litert-2.3")


def test_constants_behind_the_flatbuffer_need_a_runtime_that_looks_there(float_model: bytes) -> None:
    graph = TfliteGraph(float_model)
    assert not graph.had_constants_outside
    for buffer in graph._model.buffers[2:3]:
        buffer.offset, buffer.size, buffer.data = 4096, 4, None
    model = graph.to_bytes().ljust(1 << 20, b"\0")
    assert TfliteGraph(model).had_constants_outside
    assert oldest_runtime(model) == "tflite-runtime-2.14"


@pytest.mark.parametrize("check", [check_target, lambda target: refuse_newer(tiny_flatbuffer(), target)])
def test_an_unknown_runtime_is_refused_with_the_names_that_there_are(check: Callable[[str], object]) -> None:
    with pytest.raises(QuantizationError, match=r"'tflite-2\.14' is unknown: choose from tflite-runtime-2\.7, "):
        check("tflite-2.14")


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(LoweringError, match=r"not a TFLite flatbuffer|subgraphs"):
        refuse_newer(b"\x1c\x00\x00\x00TFL3" + bytes(60), "litert-1.0")


@pytest.mark.parametrize(
    ("stated", "false"),
    [
        ("2.14.0", ["tflite-runtime-2.14", "tensorflow-2.15"]),
        ("2.16.0", []),
        ("unknown", []),
        ("", []),
    ],
)
def test_a_stated_minimum_that_admits_a_runtime_that_cannot_is_seen_through(
    stated: str, false: list[str], dynamic: bytes
) -> None:
    assert overpromised(needs(TfliteGraph(dynamic)), stated) == false


def test_float_weights_ask_for_no_kernel() -> None:
    rows = {need.row for need in needs(TfliteGraph(tiny_flatbuffer()))}
    assert rows == {"MEAN", "FULLY_CONNECTED", "SOFTMAX", "type-float32", "type-int32"}
