"""A model that a vendor's compiler made of an artifact's: it gets the artifact's card and labels, if they still fit."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from convert.errors import DamagedModelError, SourceError
from convert.tflite.artifact_writer import Package
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import open_engine
from edge_runtime.artifact import check_tflite, open_artifact
from edge_runtime.probe import Probe, answer_probe

COMPILED = "compiled"
"""Key of a card's `source`: the custom operators, and the hash of the flatbuffer that they were made of."""


def attach(artifact: Path, compiled: Path) -> Package:
    """Return the artifact with a compiled model in place of its own, whose bytes stay as the compiler wrote them.

    The card keeps what was measured before compiling: its drift, and the answer to the probe, which the device's is
    compared with.

    Raises:
        ArtifactError: `artifact` is none, or `compiled` is no `.tflite`.
        SourceError: `compiled` is not compiled, or takes or gives other tensors.
    """
    opened = open_artifact(artifact)
    check_tflite(compiled)
    before, theirs = TfliteGraph(artifact.read_bytes()[: opened.flatbuffer_bytes]), _flatbuffer(compiled)
    try:
        after = TfliteGraph(theirs)
    except DamagedModelError as error:
        raise SourceError(f"{compiled} is damaged: {error}") from error
    customs = sorted({custom for _, _, custom in after.operator_kinds() if custom})
    if not customs:
        raise SourceError(f"{compiled} has no custom operator: nothing in it is compiled; pass what the compiler wrote")
    for end in ("inputs", "outputs"):
        expected, found = _tensors(before, end), _tensors(after, end)
        if expected != found:
            raise SourceError(
                f"{compiled} has {end} {found}, {artifact} has {expected}: pass the artifact that it was compiled from"
            )
    made_of = {"operators": customs, "flatbuffer_sha256": opened.card.sha256["flatbuffer"]}
    card = replace(opened.card, source={**opened.card.source, COMPILED: made_of})
    if card.probe is None:  # of an early version; later nothing could tell any more
        answer = answer_probe(open_engine(before.to_bytes()), card.preprocessing, card.input)
        card = replace(card, probe=Probe(tuple(answer.tolist())))
    return Package(theirs, opened.labels, card)


def _flatbuffer(path: Path) -> bytes:
    """Return the model of a file, without an archive at its end."""
    content = path.read_bytes()
    if not zipfile.is_zipfile(path):
        return content
    with zipfile.ZipFile(path) as archive:
        return content[: min((member.header_offset for member in archive.infolist()), default=len(content))]


def _tensors(graph: TfliteGraph, end: str) -> list[tuple[Any, ...]]:
    """Return shape, data type, scale and zero point of each input or output."""
    return [(graph.shape(i), graph.dtype(i), graph.quantization(i)) for i in getattr(graph, end)]
