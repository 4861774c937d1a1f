"""A model's file and what is known of it: from its card, or from the caller where it has none that is wanted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.artifact import Artifact, check_file_sha256, check_tflite, has_card, open_artifact
from edge_runtime.card import TensorSpec
from edge_runtime.engines import AnyEngine
from edge_runtime.preprocess import InputSpec
from edge_runtime.tensors import Probabilities, answer_probe, check_io_tensors


@dataclass(frozen=True)
class Model:
    """A `.tflite` whose checksums hold.

    Attributes:
        path: of the file.
        artifact: the opened artifact; None for a foreign model.
        spec: how images are prepared.
        labels: one for each class; None where nobody names the classes of a foreign model.
    """

    path: Path
    artifact: Artifact | None
    spec: InputSpec
    labels: tuple[str, ...] | None

    @classmethod
    def of(cls, path: Path, sha256: str | None, spec: InputSpec | None, labels: Sequence[str] | None) -> Model:
        """An artifact, or with `spec` a foreign model.

        Raises:
            ArtifactError: the file is missing, damaged, foreign without `spec`, or not the pinned one.
        """
        if spec is None:
            artifact = open_artifact(path, sha256)
            return cls(path, artifact, artifact.card.preprocessing, artifact.labels)
        _check_foreign(path, sha256)
        return cls(path, None, spec, None if labels is None else tuple(labels))

    @property
    def sha256(self) -> str:
        """Of the flatbuffer."""
        return model_sha256(self.path, self.artifact)

    def input_tensor(self, engine: AnyEngine) -> TensorSpec:
        """How its input is fed: as the card says, or as the interpreter finds."""
        return engine.input if self.artifact is None else self.artifact.card.input

    def names(self, engine: AnyEngine) -> tuple[str, ...]:
        """The labels, or numbers in their place."""
        return self.labels if self.labels is not None else tuple(map(str, range(engine.output_shape[-1])))

    def answer_probe(self, engine: AnyEngine) -> Probabilities:
        """What an engine answers to the probe, after a look at its ends.

        Raises:
            ArtifactError: its tensors are not what is known of the model.
            EngineError: it fails.
        """
        classes = engine.output_shape[-1] if self.artifact is None else self.artifact.card.classes
        check_io_tensors(engine, self.spec, classes, self.input_tensor(engine))
        return answer_probe(engine, self.spec, self.input_tensor(engine))


def _check_foreign(path: Path, sha256: str | None) -> None:
    """Refuse a damaged file, or another than the pinned one; a card's checksums hold, whether it is used or not."""
    check_tflite(path)
    if sha256 is not None:
        check_file_sha256(path, sha256)
    if has_card(path):
        open_artifact(path)


def model_sha256(path: str | os.PathLike[str], artifact: Artifact | None) -> str:
    """SHA-256 of a model's flatbuffer, which the card of an artifact has and `open_artifact` has verified."""
    if artifact is not None:
        return artifact.card.sha256["flatbuffer"]
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
