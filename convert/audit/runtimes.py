"""Which runtimes open a model: what it needs, against what was measured of each runtime.

A runtime opens a file only if it has every operator that the file lists, in the version that is listed or a later one.
Nor is that enough: quantizers leave versions as low as they were, and tflite-runtime 2.14 opens a FULLY_CONNECTED of
float activations by int8 weights with a scale for each channel, takes the first scale for all, and says nothing. So
what operators with quantized weights compute is a need of its own.

The converter states a `min_runtime_version`, but no more than a guess: it says that DEPTHWISE_CONV_2D version 7 needs
2.11, which the wheels have from 2.13 on. So `operator_versions.csv` has what each runtime really did, on Linux and
x86-64, measured by `scripts/measure_runtimes.py`: the highest version of each operator that it opens, 0 for none; for
the other needs 1, or 0 where the file is refused, the process dies or the answer is wrong. Its row `release` says what
was measured. The interpreter of tensorflow-2.15 to 2.17 stands for those releases of `org.tensorflow:tensorflow-lite`,
of which there is no wheel.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from convert.errors import QuantizationError
from convert.tflite.graph import TfliteGraph, has_constants_outside
from convert.tflite.operators import CLASSIFIER_KINDS

TABLE = "operator_versions.csv"
PROBED_ACTIVATIONS = ("float32", "int8", "int16")


@dataclass(frozen=True)
class Need:
    """What a runtime must have to open a model: a row of the table, and the least entry in it.

    Attributes:
        row: an operator ("CONV_2D"), a type of tensor ("type-int4"), "constants-outside", a custom operator's name, or
            what an operator with quantized weights computes ("CONV_2D:int8:int8:per-channel").
        version: of the operator; 1 for the others.
        text: for people.
    """

    row: str
    version: int
    text: str


@functools.cache
def _columns() -> dict[str, dict[str, int]]:
    """Runtime -> row -> highest version, oldest runtime first."""
    text = resources.files("convert.audit").joinpath(TABLE).read_text()
    (_, *names), _releases, *rows = csv.reader(text.splitlines())
    return {name: {row: int(cells[i]) for row, *cells in rows} for i, name in enumerate(names)}


def runtimes() -> tuple[str, ...]:
    """Names of the runtimes that were measured, oldest first."""
    return tuple(_columns())


def check_target(target: str) -> None:
    """Raise `QuantizationError`, with the names that there are, when a runtime of this name was not measured."""
    if target not in _columns():
        raise QuantizationError(f"runtime {target!r} is unknown: choose from {', '.join(runtimes())}")


def needs(model: bytes) -> list[Need]:
    """What a runtime must have to open a flatbuffer, each need once.

    Raises:
        LoweringError: the bytes are no TFLite model.
    """
    graph = TfliteGraph(model)
    found = [
        Need(custom, 1, f"{custom} (custom)") if name == "CUSTOM" else Need(name, version, f"{name} version {version}")
        for name, version, custom in graph.operator_kinds()
    ]
    types = dict.fromkeys(graph.dtype(i) for i in range(graph.tensor_count()))
    found += [Need(f"type-{dtype}", 1, f"tensors of type {dtype}") for dtype in types]
    found += [Need(*what) for what in _kernels(graph)]
    if has_constants_outside(model):
        found.append(Need("constants-outside", 1, "constants outside the flatbuffer"))
    return list(dict.fromkeys(found))


def _kernels(graph: TfliteGraph) -> Iterator[tuple[str, int, str]]:
    """What operators with quantized weights compute."""
    for operator in graph.operators:
        if operator.name not in CLASSIFIER_KINDS:
            continue
        image, weights = operator.inputs[0], operator.weights
        scales, activation, stored = graph.scales(weights), graph.dtype(image), graph.dtype(weights)
        if scales is not None and activation in PROBED_ACTIVATIONS:
            granularity = "per-channel" if len(scales) > 1 else "per-tensor"
            text = f"{operator.name} of {activation} by {stored} weights {granularity}"
            yield f"{operator.name}:{activation}:{stored}:{granularity}", 1, text


def first_with(need: Need) -> str | None:
    """The oldest runtime that has it; None when none has."""
    return next((name for name, has in _columns().items() if has.get(need.row, 0) >= need.version), None)


def too_new(model: bytes, target: str) -> list[Need]:
    """The needs of a flatbuffer that a runtime does not meet, in the file's order.

    Raises:
        QuantizationError: the runtime is unknown.
        LoweringError: the bytes are no TFLite model.
    """
    check_target(target)
    has = _columns()[target]
    return [need for need in needs(model) if has.get(need.row, 0) < need.version]


def oldest_runtime(model: bytes) -> str | None:
    """The oldest runtime that opens a flatbuffer; None when none does."""
    wanted = needs(model)
    return next(
        (name for name, has in _columns().items() if all(has.get(need.row, 0) >= need.version for need in wanted)), None
    )


def overpromised(model: bytes, stated: str) -> list[str]:
    """The runtimes that a stated minimum lets one believe in, and that cannot run the flatbuffer.

    Args:
        model: the flatbuffer.
        stated: a version of TensorFlow, "2.9.0", as `min_runtime_version` has it; others promise nothing.
    """
    least = _numbers(stated)
    wanted = needs(model)
    return [
        name
        for name, has in _columns().items()
        if least and _tensorflow(name) >= least and any(has.get(need.row, 0) < need.version for need in wanted)
    ]


def refuse_newer(model: bytes, target: str) -> None:
    """Raise when a runtime cannot open a flatbuffer.

    Args:
        model: the flatbuffer.
        target: one of `runtimes()`.

    Raises:
        QuantizationError: the runtime is unknown, or lacks what the message names.
        LoweringError: the bytes are no TFLite model.
    """
    missing = too_new(model, target)
    if missing:
        oldest = oldest_runtime(model)
        advice = "none that was measured can" if oldest is None else f"{oldest} is the oldest that can"
        raise QuantizationError(
            f"{target} cannot run this model, it lacks {', '.join(map(_with_first, missing))}: {advice}, "
            "or choose another scheme"
        )


def _tensorflow(runtime: str) -> tuple[int, ...]:
    """The version of TensorFlow that a runtime comes from; LiteRT is younger than all of them."""
    package, _, version = runtime.rpartition("-")
    return (3,) if package == "litert" else _numbers(version)


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor number; () for what is no version."""
    parts = version.split(".")[:2]
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()


def _with_first(need: Need) -> str:
    first = first_with(need)
    return need.text if first is None else f"{need.text} (since {first})"
