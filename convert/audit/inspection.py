"""What is in a `.tflite`, and whether it is as integer as it claims: one `Inspection` of everything the audit finds."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from convert.audit import runtimes, verdict
from convert.audit.checks import ERROR, WARNING, Finding, find_all
from convert.audit.operators import FLOATS, Census, FloatRun, PlacedOperator, plural
from convert.errors import LoweringError
from convert.tflite.graph import TfliteGraph
from edge_runtime.artifact import Artifact, check_tflite, has_card, open_artifact

FORMAT = 1
REQUIREMENTS = ("int8", "all-int8")
"""Convolutions in int8 and nothing float but a head; not one float tensor, as integer-only accelerators want it."""


@dataclass(frozen=True)
class Inspection:
    """Everything about one model; the keys of `irv2-inspect --json`, beside those of `to_json`.

    A key keeps its meaning as long as `format` stays; new ones may come.

    Attributes:
        format: of this report.
        verdict: `kind` (int8, uint8, int16x8, mixed, dynamic, weights-only, float16 or float) and `text`, one line.
        findings: problems first; `check`, `severity` (error, warning, note), `what`, `remedy`, `where` (names).
        bytes: size of the file.
        operators: how many of each kind.
        compute: for each dtype of operator outputs, how many operators compute it.
        weights: for each kind of weighted operator, how many have weights of which dtype and granularity.
        layers: each convolution and dense operator: `operator`, `output`, `compute` (int8, int16x8, uint8, dynamic,
            float32), and of its weights `weights` (dtype as stored), `granularity` (per-channel, per-tensor or null)
            and `channels`.
        float_runs: float operators among integer ones: `role` (stem, island, head), `operators`, and the names of the
            tensors that it `reads` and `writes`.
        float_operators: name and output of each operator with a float output.
        float_activations: whether anything computed at run time, ends included, is float.
        ends: dtype, shape, scale and zero point of input and output.
        signatures: keys, with the names of their arguments and results.
        needs: what a runtime must have, in words.
        oldest_runtime: the oldest runtime measured that has it all; null when none has.
        minimum_runtime: as the converter states it.
    """

    format: int
    verdict: verdict.IntegerVerdict
    findings: list[Finding]
    bytes: int
    operators: dict[str, int]
    compute: dict[str, int]
    weights: dict[str, int]
    layers: list[dict[str, Any]]
    float_runs: list[dict[str, Any]]
    float_operators: list[str]
    float_activations: bool
    ends: dict[str, dict[str, Any]]
    signatures: dict[str, dict[str, list[str]]]
    needs: list[str]
    oldest_runtime: str | None
    minimum_runtime: str


@dataclass(frozen=True)
class InspectedFile:
    """A file's inspection, its flatbuffer, and its card and labels when it has them."""

    inspection: Inspection
    flatbuffer: bytes
    artifact: Artifact | None


def inspect_file(path: Path) -> InspectedFile:
    """Look into the file at `path`; an artifact's checksums are verified first.

    Raises:
        ArtifactError: missing, no TFLite model, or an artifact that is damaged.
        LoweringError: the flatbuffer cannot be parsed.
    """
    check_tflite(path)
    artifact = open_artifact(path) if has_card(path) else None
    content = path.read_bytes()
    flatbuffer = content if artifact is None else content[: artifact.flatbuffer_bytes]
    try:
        inspection = inspect_model(flatbuffer)
    except LoweringError as error:
        raise LoweringError(f"{path}: {error}") from error
    except Exception as error:  # a flatbuffer that parses may still point anywhere
        raise LoweringError(
            f"{path} is damaged, its graph does not hold together ({type(error).__name__} {error}): copy it again"
        ) from error
    return InspectedFile(replace(inspection, bytes=len(content)), flatbuffer, artifact)


def inspect_model(model: bytes) -> Inspection:
    """Figures of a flatbuffer."""
    graph = TfliteGraph(model)
    census = Census(graph)
    outputs = [(step.operator, step.operator.outputs[0]) for step in census.steps if step.operator.outputs]
    return Inspection(
        format=FORMAT,
        verdict=verdict.judge(census),
        findings=[*_overpromised(model, graph), *find_all(census)],
        bytes=len(model),
        operators=dict(Counter(step.name for step in census.steps).most_common()),
        compute=dict(Counter(graph.dtype(output) for _, output in outputs).most_common()),
        weights=dict(Counter(_weights(step) for step in census.weighted).most_common()),
        layers=[_layer(step) for step in census.weighted],
        float_runs=[_float_run(run) for run in census.float_runs],
        float_operators=[
            f"{operator.name} {graph.tensor_name(output)}"
            for operator, output in outputs
            if graph.dtype(output) in FLOATS
        ],
        float_activations=verdict.has_float_activations(census),
        ends={
            name: _end(graph, indices[0])
            for name, indices in (("input", graph.inputs), ("output", graph.outputs))
            if indices
        },
        signatures={
            key: {"inputs": list(inputs), "outputs": list(results)}
            for key, (inputs, results) in graph.signatures().items()
        },
        needs=[need.text for need in runtimes.needs(model)],
        oldest_runtime=runtimes.oldest_runtime(model),
        minimum_runtime=graph.minimum_runtime(),
    )


def check_requirement(inspection: Inspection, requirement: str) -> str | None:
    """Why a model does not meet one of `REQUIREMENTS`; None when it does."""
    errors = [finding for finding in inspection.findings if finding.severity == ERROR]
    if inspection.verdict.kind != verdict.INT8:
        return inspection.verdict.text
    if errors:
        return f"its integers cannot be right: {errors[0].what}"
    if requirement == "all-int8" and inspection.float_activations:
        floats = len(inspection.float_operators)
        return f"{plural(floats, 'operator')} with a float output, or a float input"
    return None


def to_json(file: InspectedFile, target: str | None) -> dict[str, Any]:
    """All keys of `Inspection`; `card`, `labels` and `checksum` of an artifact, or null; and `target`.

    Args:
        file: as `inspect_file` returns it.
        target: a runtime to hold it against: `name`, and the `needs` that it `lacks`; null for none.
    """
    card = None if file.artifact is None else file.artifact.card
    return {
        **asdict(file.inspection),
        "card": None if card is None else {**asdict(card), "preprocessing": card.preprocessing.to_json()},
        "labels": None if file.artifact is None else list(file.artifact.labels),
        "checksum": None if file.artifact is None else "holds",
        "target": None if target is None else _against(file.flatbuffer, target),
    }


def _against(flatbuffer: bytes, target: str) -> dict[str, Any]:
    return {
        "name": target,
        "lacks": [
            {"need": need.text, "since": runtimes.first_with(need)} for need in runtimes.too_new(flatbuffer, target)
        ],
    }


def _overpromised(model: bytes, graph: TfliteGraph) -> list[Finding]:
    """The converter's statement, when a runtime that it admits refuses the model or answers wrongly."""
    stated = graph.minimum_runtime()
    false = runtimes.overpromised(model, stated)
    if not false:
        return []
    which = false[0] if len(false) == 1 else f"{len(false)} runtimes from {false[0]} to {false[-1]}"
    return [
        Finding(
            "runtime-overpromised",
            WARNING,
            f"states that TensorFlow Lite {stated} can run it, but {which} cannot",
            f"run it on {runtimes.oldest_runtime(model) or 'no runtime that was measured'} or later, or choose another "
            "scheme; --target-runtime checks",
            tuple(need.text for need in runtimes.too_new(model, false[-1])),
        )
    ]


def _weights(step: PlacedOperator) -> str:
    assert step.weights is not None
    return " ".join(filter(None, (step.name, step.weights.dtype, step.weights.granularity)))


def _layer(step: PlacedOperator) -> dict[str, Any]:
    assert step.weights is not None
    return {
        "operator": step.name,
        "output": step.output,
        "compute": step.compute,
        "weights": step.weights.dtype,
        "granularity": step.weights.granularity,
        "channels": step.weights.channels,
    }


def _float_run(run: FloatRun) -> dict[str, Any]:
    return {
        "role": run.role,
        "operators": [str(step) for step in run.steps],
        "reads": list(run.reads),
        "writes": list(run.writes),
    }


def _end(graph: TfliteGraph, index: int) -> dict[str, Any]:
    scale, zero_point = graph.quantization(index) or (None, None)
    return {
        "name": graph.tensor_name(index),
        "dtype": graph.dtype(index),
        "shape": list(graph.shape(index)),
        "scale": scale,
        "zero_point": zero_point,
    }
