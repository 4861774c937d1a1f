"""A `.tflite` file with its input spec and labels: from its card, or for a foreign model from the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.artifact import Artifact, check_tflite, has_card, open_artifact
from edge_runtime.engines import AnyEngine
from edge_runtime.errors import ArtifactError
from edge_runtime.hashing import file_sha256
from edge_runtime.specs import InputSpec, TensorSpec


@dataclass(frozen=True)
class Model:
    """A `.tflite` file whose checksums match, and how its images are prepared.

    `artifact` is None for a foreign model, `labels` is None if its caller named none.
    """

    path: Path
    artifact: Artifact | None
    spec: InputSpec
    labels: tuple[str, ...] | None

    def input_tensor(self, engine: AnyEngine) -> TensorSpec:
        """Return the description of the input from the card, or else from the interpreter."""
        return engine.input if self.artifact is None else self.artifact.card.input

    def class_names(self, engine: AnyEngine) -> tuple[str, ...]:
        """Return the labels, or else the numbers of the classes."""
        return self.labels if self.labels is not None else tuple(map(str, range(engine.output_shape[-1])))

    def flatbuffer_sha256(self) -> str:
        """Return the SHA-256 of the flatbuffer: from the card, or for a foreign model of the whole file."""
        return file_sha256(self.path) if self.artifact is None else self.artifact.card.sha256["flatbuffer"]

    def check_io_tensors(self, engine: AnyEngine) -> None:
        """Raise `ArtifactError` if an engine's tensors are not what the card, or the caller, says they are."""
        spec, classes, dtype = self.spec, len(self.class_names(engine)), self.input_tensor(engine).dtype
        if engine.input_shape != (1, spec.height, spec.width, 3):
            raise ArtifactError(
                f"the model takes {engine.input_shape}, the preprocessing makes (1, {spec.height}, {spec.width}, 3): "
                "they do not belong together"
            )
        if engine.output_shape != (1, classes):
            raise ArtifactError(
                f"the model's output is {engine.output_shape}, there are {classes} labels: pass one for each class"
            )
        if engine.input.dtype != dtype:
            raise ArtifactError(f"the model takes {engine.input.dtype}, its card says {dtype}: package it again")


def open_model(path: Path, sha256: str | None, spec: InputSpec | None, labels: Sequence[str] | None) -> Model:
    """Open an artifact, or with `spec` a foreign model.

    The checksums of an artifact are verified even if `spec` replaces what its card says.

    Raises:
        ArtifactError: the file is missing, damaged, foreign without `spec`, or not the pinned one.
    """
    if spec is None:
        artifact = open_artifact(path, sha256)
        return Model(path, artifact, artifact.card.preprocessing, artifact.labels)
    check_tflite(path, sha256)
    if has_card(path):
        open_artifact(path)
    return Model(path, None, spec, None if labels is None else tuple(labels))
