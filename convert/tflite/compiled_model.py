"""A model that a vendor's compiler made of an artifact's: it gets the artifact's card and labels, if they still fit."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from convert.errors import LoweringError, SourceError
from convert.tflite.artifact_writer import Package
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import open_engine
from edge_runtime import Card
from edge_runtime._graph_check import check_dataflow, compiled_operator
from edge_runtime.artifact import LABELS_NAME, check_tflite, open_artifact, stored_labels
from edge_runtime.custom_operators import COMPILED_FOR, COMPILED_FROM
from edge_runtime.probe import Probe

REPORT_SUFFIX, CARD_SUFFIX = ".report.json", ".json"


def attach(described: Path, compiled: Path) -> Package:
    """Return a compiled model with a card and labels; its bytes stay as the compiler wrote them.

    The card keeps what was measured before compiling: its drift, and the answer to the probe, which the device's is
    compared with.

    Args:
        described: the artifact that was compiled; or its report beside it, or its card with labels.txt beside it.
        compiled: what the compiler made of it.

    Raises:
        ArtifactError: `described` is none of these or damaged, or `compiled` is no `.tflite`.
        SourceError: `compiled` is not compiled, or takes or gives other tensors.
    """
    card, labels = _description(described)
    check_tflite(compiled)
    check_dataflow(compiled)
    theirs = _flatbuffer(compiled)
    try:
        graph = TfliteGraph(theirs)
    except LoweringError as error:
        raise SourceError(f"{compiled} cannot be read: {error}; pass what the compiler wrote") from error
    customs = sorted({custom for _, _, custom in graph.operator_kinds() if custom})
    if not customs:
        raise SourceError(f"{compiled} has no custom operator: nothing in it is compiled; pass what the compiler wrote")
    for end, expected, found in zip(("takes", "answers"), _ends_of_card(card), _ends_of_graph(graph), strict=True):
        if expected != found:
            raise SourceError(f"{compiled} {end} {found}, {described} {end} {expected}: pass what it was compiled from")
    made = {COMPILED_FROM: card.sha256["flatbuffer"], **card.source, COMPILED_FOR: customs}
    return Package(theirs, labels, replace(card, source=made))


def _description(path: Path) -> tuple[Card, tuple[str, ...]]:
    """Return a card that has an answer to the probe, and labels."""
    if path.name.endswith(REPORT_SUFFIX):
        return _from_artifact(path.with_name(path.name.removesuffix(REPORT_SUFFIX)))
    if not path.is_file() or path.suffix != CARD_SUFFIX:
        return _from_artifact(path)
    card, labels = Card.from_bytes(path.read_bytes()), path.with_name(LABELS_NAME)
    stored = labels.read_bytes() if labels.is_file() else b""
    if hashlib.sha256(stored).hexdigest() != card.sha256.get("labels"):
        raise SourceError(f"{labels} is missing, or not that of {path}: unzip it from the artifact, or pass that")
    if card.probe is None:
        raise SourceError(f"{path} records no answer to the probe, as those of early versions: pass the artifact")
    return card, stored_labels(stored, card, labels)


def _from_artifact(path: Path) -> tuple[Card, tuple[str, ...]]:
    """Return the same of an artifact, whose model answers the probe if its card does not."""
    artifact = open_artifact(path)
    card = artifact.card
    if card.probe is None:  # of an early version; later nothing could tell any more
        if compiled_operator(path) is not None:
            raise SourceError(f"{path} is compiled itself and records no answer to the probe: pass what it was made of")
        engine = open_engine(path.read_bytes()[: artifact.flatbuffer_bytes])
        card = replace(card, probe=Probe.of(engine, card.preprocessing, card.input))
    return card, artifact.labels


def _flatbuffer(path: Path) -> bytes:
    """Return the model of a file, without an archive at its end."""
    content = path.read_bytes()
    if not zipfile.is_zipfile(path):
        return content
    with zipfile.ZipFile(path) as archive:
        return content[: min((member.header_offset for member in archive.infolist()), default=len(content))]


def _ends_of_card(card: Card) -> tuple[str, str]:
    """Describe the input and the output that a card records."""
    spec = card.preprocessing
    image = (1, spec.height, spec.width, spec.channels)
    ends = ((card.input, image), (card.output, (1, card.classes)))
    takes, answers = (_end(tensor.dtype, shape, tensor.scale, tensor.zero_point) for tensor, shape in ends)
    return takes, answers


def _ends_of_graph(graph: TfliteGraph) -> tuple[str, str]:
    """Describe a graph's inputs and outputs, of which a classifier has one each."""

    def listed(indices: tuple[int, ...]) -> str:
        ends = (_end(graph.dtype(i), graph.shape(i), *(graph.quantization(i) or (None, None))) for i in indices)
        return " and ".join(ends) or "nothing"

    return listed(graph.inputs), listed(graph.outputs)


def _end(dtype: str, shape: tuple[int, ...], scale: float | None, zero_point: int | None) -> str:
    """Describe a tensor by what must stay the same."""
    quantization = "" if scale is None else f" of scale {np.float32(scale)!s} and zero point {zero_point}"
    return f"{dtype} {list(shape)}{quantization}"
