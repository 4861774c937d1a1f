"""Inspection of a `.tflite`: what it holds, whether it is as integer as it claims, what is wrong with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from convert.audit import runtimes, verdict
from convert.audit.checks import CHECKS, ERROR, SEVERITIES, WARNING, Finding, plural
from convert.audit.input_range import INPUT_RANGE, input_ranges
from convert.audit.operators import FLOATS, ClassifiedGraph, ClassifiedOperator, StoredWeights
from convert.errors import LoweringError
from convert.tflite.graph import TfliteGraph
from convert.tflite.subgraphs import JoinedGraph, Subgraph
from edge_runtime._graph_check import check_dataflow
from edge_runtime.artifact import Artifact, check_tflite, has_card, open_artifact
from edge_runtime.errors import ArtifactError

FORMAT = 1
REQUIREMENTS = ("int8", "all-int8")
"""Convolutions in int8 and nothing in float but a head; nothing in float at all, for integer-only accelerators."""


@dataclass(frozen=True)
class Inspection:
    """The facts about one model; its fields are keys of `irv2-inspect --json`, beside those that `to_json` adds.

    A key keeps its meaning as long as `format` stays the same; new keys may be added.

    Attributes:
        format: version of this report.
        verdict: `kind` (int8, uint8, int16x8, mixed, dynamic, weights-only, float16 or float) and `text`, one line.
        findings: errors first; `check`, `severity` (error, warning, note), `what`, `remedy`, `where` (names).
        bytes: size of the file.
        operators: kind -> number of operators.
        compute: dtype of the output -> number of operators.
        weights: kind, dtype and granularity of weights -> number of operators.
        layers: for each convolution and dense operator `operator`, `output`, `compute` (int8, int16x8, uint8, dynamic,
            float32), `weights` (dtype as stored), `granularity` (per-channel, per-tensor or null) and `channels`.
        float_runs: for each run of float operators among integer ones `role` (stem, island, head), `operators`, and the
            names of the tensors that it `reads` and `writes`.
        float_operators: kind and output of each operator with a float output.
        float_activations: whether anything computed at run time, input and output included, is float.
        ends: name, dtype, shape, scale and zero point of the first `input` and `output`, and `shape_signature`, which
            has -1 for the sides that are open.
        subgraphs: `name`, number of `operators`, `inputs` and `outputs`, each as in `ends`. What counts operators,
            tensors or layers counts those of all subgraphs.
        signatures: key -> names of its `inputs` and `outputs`.
        needs: what a runtime must have, in words.
        oldest_runtime: the oldest measured runtime that has it all; null when none has.
        minimum_runtime: TensorFlow version that the converter states.
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
    subgraphs: list[dict[str, Any]]
    signatures: dict[str, dict[str, list[str]]]
    needs: list[str]
    oldest_runtime: str | None
    minimum_runtime: str


@dataclass(frozen=True)
class InspectedFile:
    """The inspection of a file, its flatbuffer, and the artifact if it has a card."""

    inspection: Inspection
    flatbuffer: bytes
    artifact: Artifact | None


def inspect_file(path: Path) -> InspectedFile:
    """Inspect the file at `path`; the checksums of an artifact are verified first.

    Raises:
        ArtifactError: missing, not a TFLite model, or an artifact that is damaged.
        LoweringError: the flatbuffer cannot be parsed, or holds something that this audit does not know.
    """
    check_tflite(path)
    artifact = open_artifact(path) if has_card(path) else None
    content = path.read_bytes()
    flatbuffer = content if artifact is None else content[: artifact.flatbuffer_bytes]
    try:
        inspection = inspect_model(flatbuffer)
    except LoweringError as error:
        raise LoweringError(f"{path}: {error}") from error
    except MemoryError as error:  # a small file may claim a huge constant
        raise LoweringError(
            f"{path} needs more memory than such a file should: get it again, from its maker"
        ) from error
    except Exception as error:  # indices and offsets of a flatbuffer that parses may still be anything
        raise _unread(path, flatbuffer, error) from error
    findings = [each for each in inspection.findings if artifact is None or each.check != INPUT_RANGE]
    return InspectedFile(replace(inspection, bytes=len(content), findings=findings), flatbuffer, artifact)


def _unread(path: Path, flatbuffer: bytes, error: Exception) -> LoweringError:
    """Return what to say of a model that the audit failed on: that it is damaged only if it is."""
    failure = f"{type(error).__name__} {error}"
    try:
        check_dataflow(flatbuffer)
    except ArtifactError:
        return LoweringError(f"{path} is damaged, its graph does not hold together ({failure}): copy it again")
    return LoweringError(
        f"{path} holds something that irv2-inspect does not know ({failure}), which says nothing against it: please "
        "report what made the file"
    )


def inspect_model(model: bytes) -> Inspection:
    """Inspect a flatbuffer; raise `LoweringError` if it is no TFLite model."""
    tensors = JoinedGraph(model)
    graph, needs = ClassifiedGraph(tensors), runtimes.needs(tensors)
    subgraphs = [_subgraph(tensors, subgraph) for subgraph in tensors.subgraphs]
    outputs = [(operator, tensors.dtype(operator.outputs[0])) for operator in graph.operators if operator.outputs]
    findings = _overpromised(needs, tensors.minimum_runtime())
    findings += input_ranges(graph)
    findings += (finding for check in CHECKS for finding in check(graph))
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    weights = (" ".join(filter(None, (op.label, stored.dtype, stored.granularity))) for op, stored in graph.weighted)
    return Inspection(
        format=FORMAT,
        verdict=verdict.judge(graph),
        findings=findings,
        bytes=len(model),
        operators=dict(Counter(operator.label for operator in graph.operators).most_common()),
        compute=dict(Counter(dtype for _, dtype in outputs).most_common()),
        weights=dict(Counter(weights).most_common()),
        layers=[_layer(*layer) for layer in graph.weighted],
        float_runs=[{**vars(run), "operators": list(map(str, run.operators))} for run in graph.float_runs],
        float_operators=[f"{operator.name} {operator.output}" for operator, dtype in outputs if dtype in FLOATS],
        float_activations=verdict.has_float_activations(graph),
        ends={end: subgraphs[0][f"{end}s"][0] for end in ("input", "output") if subgraphs[0][f"{end}s"]},
        subgraphs=subgraphs,
        signatures={
            key: {"inputs": list(inputs), "outputs": list(results)}
            for key, (inputs, results) in tensors.signatures().items()
        },
        needs=[need.text for need in needs],
        oldest_runtime=runtimes.oldest_with(needs),
        minimum_runtime=tensors.minimum_runtime(),
    )


def check_requirement(inspection: Inspection, requirement: str) -> str | None:
    """Return why a model does not meet one of `REQUIREMENTS`; None when it does."""
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
    """Return the keys of `Inspection`, and `card`, `labels` and `checksum`, null without a card, and `target`.

    The latter is a runtime that the model is compared with: its `name`, and the needs that it `lacks`; null for none.
    """
    described: dict[str, Any] = {"card": None, "labels": None, "checksum": None, "target": None}
    if file.artifact is not None:
        card, labels = file.artifact.card, file.artifact.labels
        described["card"] = {**asdict(card), "preprocessing": card.preprocessing.to_json()}
        described |= {"labels": list(labels), "checksum": "holds"}
    if target is not None:
        missing = runtimes.unmet(runtimes.needs(JoinedGraph(file.flatbuffer)), target)
        lacks = [{"need": need.text, "since": runtimes.oldest_with([need])} for need in missing]
        described["target"] = {"name": target, "lacks": lacks}
    return {**asdict(file.inspection), **described}


def _overpromised(needs: list[runtimes.Need], stated: str) -> list[Finding]:
    """Report a minimum runtime that is too old: a later one still refuses the model or computes it wrongly."""
    false = runtimes.overpromised(needs, stated)
    if not false:
        return []
    which = false[0] if len(false) == 1 else f"{len(false)} runtimes from {false[0]} to {false[-1]}"
    what = f"states that TensorFlow Lite {stated} can run it, but {which} cannot"
    first = runtimes.oldest_with(needs) or "no runtime that was measured"
    remedy = f"run it on {first} or later, or choose another scheme; --target-runtime checks"
    where = tuple(need.text for need in runtimes.unmet(needs, false[-1]))
    return [Finding("runtime-overpromised", WARNING, what, remedy, where)]


def _layer(operator: ClassifiedOperator, weights: StoredWeights) -> dict[str, Any]:
    return {
        "operator": operator.label,
        "output": operator.output,
        "compute": operator.compute,
        "weights": weights.dtype,
        "granularity": weights.granularity,
        "channels": weights.channels,
    }


def _subgraph(graph: TfliteGraph, subgraph: Subgraph) -> dict[str, Any]:
    return {
        "name": subgraph.name,
        "operators": subgraph.operators,
        "inputs": [_tensor(graph, index) for index in subgraph.inputs],
        "outputs": [_tensor(graph, index) for index in subgraph.outputs],
    }


def _tensor(graph: TfliteGraph, index: int) -> dict[str, Any]:
    scale, zero_point = graph.quantization(index) or (None, None)
    return {
        "name": graph.tensor_name(index),
        "dtype": graph.dtype(index),
        "shape": list(graph.shape(index)),
        "shape_signature": list(graph.shape_signature(index)),
        "scale": scale,
        "zero_point": zero_point,
    }
