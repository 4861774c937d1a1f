"""A `.tflite` file with its input spec and labels: from its card, or for a foreign model from the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.artifact import Artifact, check_file_sha256, check_tflite, has_card, open_artifact
from edge_runtime.engines import AnyEngine
from edge_runtime.specs import InputSpec, TensorSpec
from edge_runtime.tensors import Probabilities, answer_probe, check_io_tensors


@dataclass(frozen=True)
class Model:
    """A `.tflite` file whose checksums match.

    Attributes:
        path: of the file.
        artifact: the opened artifact; None for a foreign model.
        spec: how images are prepared.
        labels: one for each class; None if the caller of a foreign model named none.
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

    def answer_probe(self, engine: AnyEngine) -> Probabilities:
        """Return an engine's probabilities, float32 (classes,), for the probe, after checking its tensors.

        Raises:
            ArtifactError: its tensors are not what the card says.
            EngineError: the engine fails.
        """
        classes = engine.output_shape[-1] if self.artifact is None else self.artifact.card.classes
        check_io_tensors(engine, self.spec, classes, self.input_tensor(engine))
        return answer_probe(engine, self.spec, self.input_tensor(engine))


def open_model(path: Path, sha256: str | None, spec: InputSpec | None, labels: Sequence[str] | None) -> Model:
    """Open an artifact, or with `spec` a foreign model.

    The checksums of an artifact are verified even if `spec` replaces what its card says.

    Raises:
        ArtifactError: the file is missing, damaged, foreign without `spec`, or not the pinned one.
    """
    if spec is None:
        artifact = open_artifact(path, sha256)
        return Model(path, artifact, artifact.card.preprocessing, artifact.labels)
    check_tflite(path)
    if sha256 is not None:
        check_file_sha256(path, sha256)
    if has_card(path):
        open_artifact(path)
    return Model(path, None, spec, None if labels is None else tuple(labels))
