"""Opens `.tflite` files: an artifact is a flatbuffer, followed by a zip with the card and the labels.

The standard library is enough to read them. The file is checked here, before an interpreter sees a byte; the tensors
that the interpreter then finds are checked against the card.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime._archive import DAMAGED_ZIP, member
from edge_runtime._graph_check import compiled_operator
from edge_runtime.card import Card
from edge_runtime.custom_operators import needs_hardware
from edge_runtime.engines import AnyEngine
from edge_runtime.errors import ArtifactError
from edge_runtime.hashing import file_sha256, hash_of
from edge_runtime.nearby import did_you_mean
from edge_runtime.specs import SOFTMAX, InputSpec, TensorSpec

if TYPE_CHECKING:  # artifacts, which are most of what is opened, start faster without it
    from edge_runtime.foreign.file import ForeignFile

TFLITE_IDENTIFIER = b"TFL3"
CARD_NAME = "card.json"
LABELS_NAME = "labels.txt"
CONVERT_IT, NAME_IT_FIRST = "make a .tflite of it with irv2-convert --model", "the .tflite file comes before the images"
OTHER_FILES = {
    b"PK\3\4": ("a zip file, as Keras' .keras files are", CONVERT_IT),
    b"\x89HDF": ("an HDF5 file, as Keras' .h5 files are", CONVERT_IT),
    b"\xff\xd8\xff": ("a JPEG picture", NAME_IT_FIRST),
    b"\x89PNG": ("a PNG picture", NAME_IT_FIRST),
}
"""First bytes of what is taken for a model by mistake -> what it is, and what to do."""


@dataclass(frozen=True)
class Artifact:
    """An artifact whose checksums match: its card, a label for each class, and the length of its flatbuffer."""

    path: Path
    card: Card
    labels: tuple[str, ...]
    flatbuffer_bytes: int


@dataclass(frozen=True)
class Model:
    """A `.tflite` file whose checksums match, and how its images are prepared.

    Attributes:
        artifact: None for a foreign model.
        labels: None if neither the file nor its caller named any; `labels_from` says where they are, in a message.
        foreign: what the file of a foreign model says of itself.
    """

    path: Path
    artifact: Artifact | None
    spec: InputSpec
    labels: tuple[str, ...] | None
    foreign: ForeignFile | None = None
    labels_from: str = ""

    @property
    def head(self) -> str:
        """Return what the network ends in, one of `specs.HEADS`: what the card says, or else the graph."""
        if self.artifact is not None:
            return self.artifact.card.head
        return SOFTMAX if self.foreign is None else self.foreign.head

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Return the shape to give to the input of an engine before it is used; None if it has it."""
        return None if self.foreign is None else self.foreign.input_shape(self.spec)

    @cached_property
    def compiled_operator(self) -> str | None:
        """Return the custom operator that a vendor's compiler put into the model; None if there is none."""
        return compiled_operator(self.path)

    def settled(self, open_engine: Callable[[], AnyEngine]) -> Model:
        """Return the same model with what its file does not say of its answers found out from one of them."""
        if self.foreign is None or self.foreign.is_settled:
            return self
        from edge_runtime.foreign.engine import settled

        return replace(self, foreign=settled(self.foreign, open_engine(), self.spec))

    def adapted(self, engine: AnyEngine) -> AnyEngine:
        """Return an engine that answers with a probability for each class, whatever the model answers."""
        if self.foreign is None:
            return engine
        from edge_runtime.foreign.engine import ForeignEngine

        return ForeignEngine(engine, self.foreign, self.spec)

    def input_tensor(self, engine: AnyEngine) -> TensorSpec:
        """Return the description of the input from the card, or else from the engine."""
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
        made = (1, spec.height, spec.width, spec.channels)
        if engine.input_shape != made:
            raise ArtifactError(
                f"the model takes {engine.input_shape}, the preprocessing makes {made}: they do not belong together"
            )
        if engine.output_shape != (1, classes):
            from edge_runtime.labels import count_advice

            advice = count_advice(classes, engine.output_shape[-1])
            raise ArtifactError(
                f"the model's output is {engine.output_shape}, there are {classes} labels{self.labels_from}: {advice}"
            )
        if engine.input.dtype != dtype:
            raise ArtifactError(f"the model takes {engine.input.dtype}, its card says {dtype}: package it again")


def open_model(
    path: Path,
    sha256: str | None,
    spec: InputSpec | None,
    labels: Sequence[str] | None,
    meanwhile: Callable[[], object] = bool,
) -> Model:
    """Open an artifact; or a foreign model, with `spec` and `labels` for what its file does not say.

    The checksums of an artifact are verified even if `spec` replaces what its card says, and `meanwhile` is called.

    Raises:
        ArtifactError: the file is missing, damaged, not the pinned one, or foreign and does not say what is not given.
    """
    check_tflite(path, sha256)
    is_ours = has_card(path)
    if is_ours:
        artifact = open_artifact(path, meanwhile=meanwhile)
        if spec is None:
            return Model(path, artifact, artifact.card.preprocessing, artifact.labels)
    from edge_runtime.foreign.reading import read_foreign

    foreign = read_foreign(path, with_metadata=spec is None or labels is None)
    if spec is None and not foreign.describes_itself:
        if (compiled := compiled_operator(path)) is not None:
            raise ArtifactError(
                f"{path} carries no card and {needs_hardware(compiled)}; irv2-convert attach gives it the card of what "
                "it was compiled from, or pass --preprocessing"
            )
        raise ArtifactError(
            f"{path} carries no card: it is cut off, damaged, or not made by irv2-convert; copy it again, or open a "
            "foreign model with an explicit InputSpec (--preprocessing)"
        )
    prepared = foreign.spec() if spec is None else spec
    if labels is not None:
        return Model(path, None, prepared, tuple(labels), foreign)
    found = foreign.labels()
    return Model(path, None, prepared, None if found is None else found.names, foreign, " in its metadata")


def open_artifact(
    path: str | os.PathLike[str], sha256: str | None = None, meanwhile: Callable[[], object] = bool
) -> Artifact:
    """Read and verify the card, the labels and the checksums of the artifact at `path`.

    `sha256` is the expected hash of the whole file, in hexadecimal; a file cannot vouch for itself. `meanwhile` is
    called while a thread computes the checksum, which takes tens of milliseconds.

    Raises:
        ArtifactError: the file is missing, not a `.tflite`, without a card, damaged, or not the one expected.
    """
    path = Path(path)
    check_tflite(path, sha256)
    card_bytes, label_bytes, flatbuffer_bytes = _read_tail(path)
    card = Card.from_bytes(card_bytes)
    _check("labels", hashlib.sha256(label_bytes).hexdigest(), card, path)
    digest = hash_of(path, flatbuffer_bytes)
    meanwhile()
    _check("flatbuffer", digest.hexdigest(), card, path)
    return Artifact(path, card, stored_labels(label_bytes, card, path), flatbuffer_bytes)


def check_tflite(path: Path, sha256: str | None = None) -> None:
    """Raise `ArtifactError` if a file does not begin as a TFLite flatbuffer does, or is not the one expected."""
    if not path.is_file():
        raise ArtifactError(
            f"model {path} does not exist or is not a file{did_you_mean(path)}: pass the path of a .tflite file"
        )
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ArtifactError(f"model {path} cannot be read: {error.strerror or error}") from error
    if head[4:8] != TFLITE_IDENTIFIER:
        raise ArtifactError(f"{path} is not a TFLite model: {_mistaken_for_one(head)}")
    if sha256 is not None and (found := file_sha256(path)) != sha256.strip().lower():
        raise ArtifactError(f"{path} has SHA-256 {found}, expected {sha256}: this is not the file you pinned")


def _mistaken_for_one(head: bytes) -> str:
    """Return what a file is instead of a model, by its first bytes, and what to do."""
    for magic, (what, remedy) in OTHER_FILES.items():
        if head.startswith(magic):
            return f"it is {what}; {remedy}"
    if not head:
        return "it is empty; pass a .tflite file"
    return f"it begins with {head!r}, not with 4 bytes and {TFLITE_IDENTIFIER!r}; pass a .tflite file"


def has_card(path: Path) -> bool:
    """Return whether a zip with a card stands at the end of the file at `path`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return CARD_NAME in archive.namelist()
    except (zipfile.BadZipFile, *DAMAGED_ZIP):
        return False


def _read_tail(path: Path) -> tuple[bytes, bytes, int]:
    """Return the bytes of the card and the labels, and the offset at which the zip begins."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            for name in (CARD_NAME, LABELS_NAME):
                if names.count(name) != 1:
                    raise ArtifactError(
                        f"{path} has {names.count(name)} {name} at its end, not one: it was not made by irv2-convert; "
                        "open it with an explicit InputSpec"
                    )
            return (
                member(archive, CARD_NAME, path),
                member(archive, LABELS_NAME, path),
                min(member.header_offset for member in members),
            )
    except zipfile.BadZipFile as error:
        raise ArtifactError(
            f"{path} carries no card: it is cut off, damaged, or not made by irv2-convert; "
            "copy it again, or open a foreign model with an explicit InputSpec"
        ) from error
    except DAMAGED_ZIP as error:
        raise ArtifactError(f"{path}: the archive at its end is damaged ({error}); copy the file again") from error


def _check(part: str, found: str, card: Card, path: Path) -> None:
    if card.sha256.get(part) != found:
        raise ArtifactError(f"{path}: the checksum of the {part} does not match: it is damaged; copy the file again")


def stored_labels(data: bytes, card: Card, path: Path) -> tuple[str, ...]:
    """Return the labels in the bytes of `LABELS_NAME`; raise `ArtifactError` if they are not as many as the classes."""
    try:
        labels = tuple(data.decode().splitlines())
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: {LABELS_NAME} is not UTF-8 text: {error}") from error
    if len(labels) != card.classes:
        raise ArtifactError(f"{path}: {len(labels)} labels for {card.classes} classes: package it again")
    return labels
