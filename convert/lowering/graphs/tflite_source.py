"""A float `.tflite` that others wrote, or a float artifact of ours, as a network to convert."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from convert.errors import SourceError
from convert.keras_models.sources import ModelSource
from convert.lowering.graphs.foreign_graph import ForeignGraph, read_foreign_graph
from convert.lowering.graphs.reference import checked_logits
from convert.tflite.interpreter import RecordingEngine
from edge_runtime import ArtifactError, Card, InputSpec
from edge_runtime.arrays import Array
from edge_runtime.artifact import has_card, open_artifact
from edge_runtime.foreign.file import ForeignFile
from edge_runtime.foreign.reading import read_foreign
from edge_runtime.hashing import file_sha256

FLOAT_SCHEME = "none"


class TfliteNetwork:
    """A float `.tflite`; its answers are those of LiteRT for the file as it is, but for its size."""

    def __init__(self, source: ModelSource) -> None:
        self._path = Path(source.model)
        self._said, self.labels = _description(self._path)
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise SourceError(
                f"{self._path} cannot be read: {error.strerror or error}; check its permissions"
            ) from error
        self._graph: ForeignGraph = read_foreign_graph(content, source.size, str(self._path), source.labels)
        self.architecture = self._said.architecture if isinstance(self._said, Card) else "TFLite file"
        self.weights_sha256 = file_sha256(self._path)
        self.recognized = f"{self._path.name}: TFLite file of float32, ends in {self._graph.end.kind}"
        self.head, self.classes = self._graph.end.head, self._graph.classes
        self.front, self.slow_layers = self._graph.front.lines, tuple[str, ...]()

    def spec(self, preprocessing: str | None) -> InputSpec:
        """Return how images are prepared; see `Network.spec`."""
        if preprocessing is None and isinstance(self._said, Card):
            return self._said.preprocessing
        front, size = self._graph.front, self._graph.image.size
        if preprocessing is None and isinstance(self._said, ForeignFile) and self._said.describes_itself:
            return front.scaling.behind(self._said.spec(None, size[:2]))
        return front.spec(preprocessing, self._path, size)

    def to_tflite(self, scratch: Path, report: Callable[[str], object]) -> bytes:
        """Return the graph in the form of ours; see `Network.to_tflite`."""
        return self._graph.model

    def logits(self, images: Array) -> Array:
        """Return the answers of LiteRT for the original file; see `Network.logits`."""
        graph = self._graph
        engine, answers, logits = RecordingEngine(graph.original), [], []
        for image in graph.front.scaling.undone(images):
            answers.append(engine.run(graph.image.fed(image)).reshape(-1))
            logits.append(engine.tensor(graph.end.logits).reshape(-1))
        return checked_logits(graph.end, np.stack(logits), np.stack(answers), str(self._path))


def _description(path: Path) -> tuple[Card | ForeignFile | None, tuple[str, ...] | None]:
    """Return what a file says of itself, in its card or its TFLite Metadata, and its labels; None for what it lacks."""
    if not has_card(path):
        try:
            foreign = read_foreign(path)
            labels = foreign.labels()
        except ArtifactError:  # such as channels first, which the runtime refuses and we do not
            return None, None
        return foreign, None if labels is None else labels.names
    artifact = open_artifact(path)
    if artifact.card.scheme != FLOAT_SCHEME:
        raise SourceError(
            f"{path} is an artifact of scheme {artifact.card.scheme}: convert the network it was made from, or its "
            f"artifact of scheme {FLOAT_SCHEME}"
        )
    return artifact.card, artifact.labels
