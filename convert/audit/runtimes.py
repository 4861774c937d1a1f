"""Runtimes that can run a model: what the model needs, compared with what was measured of each runtime.

A runtime opens a file only if it has every operator that the file lists, in the version that is listed or a later one.
Nor is that enough: quantizers leave versions as low as they were, and tflite-runtime 2.14 opens a FULLY_CONNECTED of
float activations by int8 weights with one scale per channel, applies the first scale to all, and says nothing. So what
operators with quantized weights compute is a need of its own.

The `min_runtime_version` that converters state is only a guess: it says that DEPTHWISE_CONV_2D version 7 needs 2.11,
which the wheels have from 2.13 on. So `operator_versions.csv` holds what each runtime really did, on Linux and x86-64,
measured by `scripts/measure_runtimes.py`: the highest version of each operator that it opens, 0 for none; for any other
need 1, or 0 where the file is refused, the process dies or the answer is wrong. Its row `release` holds the exact
release that was measured. The interpreter of tensorflow-2.15 to 2.17 stands for those releases of
`org.tensorflow:tensorflow-lite`, which has no wheel.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from convert.errors import QuantizationError
from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import CLASSIFIER_KINDS
from convert.tflite.subgraphs import JoinedGraph
from edge_runtime.custom_operators import COMPILED

TABLE = "operator_versions.csv"
PROBED_ACTIVATIONS = ("float32", "int8", "int16")


@dataclass(frozen=True)
class Need:
    """Something a runtime must have to run a model: a row of the table, the least entry in it, and a text for users.

    Attributes:
        row: an operator ("CONV_2D"), a type of tensor ("type-int4"), "constants-outside", a custom operator's name, or
            what an operator with quantized weights computes ("CONV_2D:int8:int8:per-channel").
        version: of the operator; 1 for other needs.
    """

    row: str
    version: int
    text: str


@functools.cache
def measured() -> dict[str, dict[str, int]]:
    """Return, for each runtime that was measured, oldest first, the highest version of each row."""
    text = resources.files("convert.audit").joinpath(TABLE).read_text()
    (_, *names), _releases, *rows = csv.reader(text.splitlines())
    return {name: {row: int(cells[i]) for row, *cells in rows} for i, name in enumerate(names)}


def check_target(target: str) -> None:
    """Refuse a runtime that was not `measured`, with a `QuantizationError` that lists them."""
    if target not in measured():
        raise QuantizationError(f"runtime {target!r} is unknown: choose from {', '.join(measured())}")


def needs(graph: TfliteGraph) -> list[Need]:
    """Return what a runtime must have to run a model, each need once."""
    found = [
        Need(custom, 1, f"{custom} (custom)") if name == "CUSTOM" else Need(name, version, f"{name} version {version}")
        for name, version, custom in graph.operator_kinds()
        if custom not in COMPILED  # a need of the delegate
    ]
    types = dict.fromkeys(graph.dtype(i) for i in graph.tensors)
    found += [Need(f"type-{dtype}", 1, f"tensors of type {dtype}") for dtype in types]
    found += _kernels(graph)
    if graph.had_constants_outside:
        found.append(Need("constants-outside", 1, "constants outside the flatbuffer"))
    return list(dict.fromkeys(found))


def _kernels(graph: TfliteGraph) -> Iterator[Need]:
    """Yield what each operator with quantized weights computes."""
    for operator in graph.operators:
        if operator.name not in CLASSIFIER_KINDS:
            continue
        scales, stored = graph.scales(operator.weights), graph.dtype(operator.weights)
        activation = graph.dtype(operator.inputs[0])
        if scales is not None and activation in PROBED_ACTIVATIONS:
            granularity = "per-channel" if len(scales) > 1 else "per-tensor"
            row = f"{operator.name}:{activation}:{stored}:{granularity}"
            yield Need(row, 1, f"{operator.name} of {activation} by {stored} weights {granularity}")


def unmet(wanted: Sequence[Need], runtime: str) -> list[Need]:
    """Return the needs that a runtime does not meet, in their order."""
    has = measured()[runtime]
    return [need for need in wanted if has.get(need.row, 0) < need.version]


def oldest_with(wanted: Sequence[Need]) -> str | None:
    """Return the oldest runtime that meets all needs; None when none does."""
    return next((name for name in measured() if not unmet(wanted, name)), None)


def oldest_runtime(model: bytes) -> str | None:
    """Return the oldest runtime that can run a flatbuffer; None when none can."""
    return oldest_with(needs(JoinedGraph(model)))


def overpromised(wanted: Sequence[Need], stated: str) -> list[str]:
    """Return the runtimes that a stated minimum version includes, but that do not meet all needs.

    `stated` is a version of TensorFlow, "2.9.0", as `min_runtime_version` has it; any other text includes none.
    """
    least = _numbers(stated)
    return [name for name in measured() if least and _tensorflow(name) >= least and unmet(wanted, name)]


def refuse_newer(model: bytes, target: str) -> None:
    """Refuse a runtime that cannot run a flatbuffer.

    Raises:
        QuantizationError: the runtime is unknown, or lacks what the message names.
        LoweringError: the bytes are not a TFLite model.
    """
    check_target(target)
    wanted = needs(JoinedGraph(model))
    missing = [(need.text, oldest_with([need])) for need in unmet(wanted, target)]
    if missing:
        lacks = ", ".join(text if first is None else f"{text} (since {first})" for text, first in missing)
        oldest = oldest_with(wanted)
        advice = "none that was measured can" if oldest is None else f"{oldest} is the oldest that can"
        raise QuantizationError(f"{target} cannot run this model, it lacks {lacks}: {advice}, or choose another scheme")


def _tensorflow(runtime: str) -> tuple[int, ...]:
    """Return the version of TensorFlow that a runtime comes from; LiteRT is younger than all of them."""
    package, _, version = runtime.rpartition("-")
    return (3,) if package == "litert" else _numbers(version)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the major and the minor number; () for a text that is not a version."""
    parts = version.split(".")[:2]
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()
