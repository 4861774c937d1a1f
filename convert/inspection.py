"""What is in a `.tflite`: operators, dtypes, scales, and whether it is as integer as it claims."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convert.tflite_graph import Operator, TfliteGraph
from edge_runtime.artifact import Artifact, check_tflite, has_card, open_artifact

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True)
class Inspection:
    """Figures of one model.

    Attributes:
        bytes: size of the file.
        operators: how many of each kind.
        compute: for each dtype of operator outputs, how many operators compute it.
        weights: for each kind of weighted operator, how many have weights of which dtype and granularity.
        float_operators: name and output of each operator with a float output.
        ends: dtype, shape, scale and zero point of input and output.
        signatures: keys, with the names of their arguments and results.
        minimum_runtime: as the converter states it.
    """

    bytes: int
    operators: dict[str, int]
    compute: dict[str, int]
    weights: dict[str, int]
    float_operators: list[str]
    ends: dict[str, dict[str, Any]]
    signatures: dict[str, dict[str, list[str]]]
    minimum_runtime: str


def inspect_file(path: Path) -> tuple[Inspection, Artifact | None]:
    """Look into the file at `path`; an artifact's checksums are verified first.

    Raises:
        ArtifactError: missing, no TFLite model, or an artifact that is damaged.
        LoweringError: the flatbuffer cannot be parsed.
    """
    check_tflite(path)
    artifact = open_artifact(path) if has_card(path) else None
    content = path.read_bytes()
    return inspect_model(content if artifact is None else content[: artifact.flatbuffer_bytes], len(content)), artifact


def inspect_model(model: bytes, file_bytes: int) -> Inspection:
    """Figures of a flatbuffer."""
    graph = TfliteGraph(model)
    operators = list(graph.operators)
    outputs = [(operator, operator.outputs[0]) for operator in operators if operator.outputs]
    return Inspection(
        bytes=file_bytes,
        operators=dict(Counter(operator.name for operator in operators).most_common()),
        compute=dict(Counter(graph.dtype(output) for _, output in outputs).most_common()),
        weights=dict(Counter(_weights(graph, op) for op in operators if op.name in WEIGHTED).most_common()),
        float_operators=[
            f"{operator.name} {graph.tensor_name(output)}"
            for operator, output in outputs
            if graph.dtype(output).startswith("float")
        ],
        ends={"input": _end(graph, graph.inputs[0]), "output": _end(graph, graph.outputs[0])},
        signatures={
            key: {"inputs": list(inputs), "outputs": list(results)}
            for key, (inputs, results) in graph.signatures().items()
        },
        minimum_runtime=graph.minimum_runtime(),
    )


def to_json(inspection: Inspection, artifact: Artifact | None) -> dict[str, Any]:
    """All figures; with the card where there is one."""
    card = None if artifact is None else artifact.card
    return {
        **asdict(inspection),
        "card": None if card is None else {**asdict(card), "preprocessing": card.preprocessing.to_json()},
        "labels": None if artifact is None else list(artifact.labels),
        "checksum": None if artifact is None else "holds",
    }


def _weights(graph: TfliteGraph, operator: Operator) -> str:
    scales = graph.scales(operator.inputs[1])
    dtype = graph.dtype(operator.inputs[1])
    if scales is None:
        return f"{operator.name} {dtype}"
    return f"{operator.name} {dtype} {'per-channel' if len(scales) > 1 else 'per-tensor'}"


def _end(graph: TfliteGraph, index: int) -> dict[str, Any]:
    scales, zero_points = graph.scales(index), graph.zero_points(index)
    return {
        "name": graph.tensor_name(index),
        "dtype": graph.dtype(index),
        "shape": list(graph.shape(index)),
        "scale": None if scales is None else float(scales[0]),
        "zero_point": None if zero_points is None else int(zero_points[0]),
    }
