"""Opens `.tflite` files: an artifact is a flatbuffer, followed by a zip with the card and the labels.

The standard library is enough to read them. The file is checked here, before an interpreter sees a byte; the tensors
that the interpreter then finds are checked against the card.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime._mmap import content_of
from edge_runtime.card import Card
from edge_runtime.engines import AnyEngine
from edge_runtime.errors import ArtifactError
from edge_runtime.hashing import file_sha256
from edge_runtime.specs import HEADS, SOFTMAX, InputSpec, TensorSpec

TFLITE_IDENTIFIER = b"TFL3"
CARD_NAME = "card.json"
LABELS_NAME = "labels.txt"
MAX_MEMBER_BYTES = 8 * 2**20
"""Cards and label files are small: a member that claims to be larger is refused, not inflated."""
DAMAGED_ZIP = (OSError, ValueError, RuntimeError, EOFError, OverflowError, struct.error, zlib.error)
"""What `zipfile` raises for damaged archives, besides its own `BadZipFile`."""


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

    `artifact` is None for a foreign model, `labels` is None if its caller named none; `head` is one of `specs.HEADS`.
    """

    path: Path
    artifact: Artifact | None
    spec: InputSpec
    labels: tuple[str, ...] | None
    head: str = SOFTMAX

    def input_tensor(self, engine: AnyEngine) -> TensorSpec:
        """Return the description of the input from the card, or else from the interpreter."""
        return engine.input if self.artifact is None else self.artifact.card.input

    def class_names(self, engine: AnyEngine) -> tuple[str, ...]:
        """Return the labels, or else the numbers of the classes; raise `ArtifactError` if there are neither."""
        if self.labels is not None:
            return self.labels
        shape = engine.output_shape
        if len(shape) != 2 or shape[0] != 1 or shape[1] < 1:
            raise ArtifactError(f"the model's output is {shape}, not (1, classes): pass a model that classifies images")
        return tuple(map(str, range(shape[1])))

    def flatbuffer_sha256(self) -> str:
        """Return the SHA-256 of the flatbuffer: from the card, or for a foreign model of the whole file."""
        return file_sha256(self.path) if self.artifact is None else self.artifact.card.sha256["flatbuffer"]

    def check_io_tensors(self, engine: AnyEngine) -> None:
        """Raise `ArtifactError` if an engine's tensors are not what the card, or the caller, says they are."""
        spec, classes, dtype = self.spec, len(self.class_names(engine)), self.input_tensor(engine).dtype
        made = (1, spec.height, spec.width, spec.channels)
        if engine.input_shape != made:
            raise ArtifactError(
                f"the model takes {engine.input_shape}, the preprocessing makes {made}: "
                "they do not belong together"
            )
        if engine.output_shape != (1, classes):
            raise ArtifactError(
                f"the model's output is {engine.output_shape}, there are {classes} labels: pass one for each class"
            )
        if engine.input.dtype != dtype:
            raise ArtifactError(f"the model takes {engine.input.dtype}, its card says {dtype}: package it again")


def open_model(
    path: Path, sha256: str | None, spec: InputSpec | None, labels: Sequence[str] | None, head: str = SOFTMAX
) -> Model:
    """Open an artifact, or with `spec` a foreign model that ends in `head`.

    The checksums of an artifact are verified even if `spec` replaces what its card says.

    Raises:
        ArtifactError: the file is missing, damaged, foreign without `spec`, or not the pinned one.
    """
    if spec is None:
        artifact = open_artifact(path, sha256)
        return Model(path, artifact, artifact.card.preprocessing, artifact.labels, artifact.card.head)
    if head not in HEADS:
        raise ArtifactError(f"head {head!r} is none of {HEADS}")
    check_tflite(path, sha256)
    if has_card(path):
        open_artifact(path)
    return Model(path, None, spec, None if labels is None else tuple(labels), head)


def open_artifact(path: str | os.PathLike[str], sha256: str | None = None) -> Artifact:
    """Read and verify the card, the labels and the checksums of the artifact at `path`.

    `sha256` is the expected hash of the whole file, in hexadecimal; a file cannot vouch for itself.

    Raises:
        ArtifactError: the file is missing, not a `.tflite`, without a card, damaged, or not the one expected.
    """
    path = Path(path)
    check_tflite(path, sha256)
    card_bytes, label_bytes, flatbuffer_bytes = _read_tail(path)
    card = Card.from_bytes(card_bytes)
    _check("labels", hashlib.sha256(label_bytes).hexdigest(), card, path)
    with content_of(path) as content:
        _check("flatbuffer", hashlib.sha256(content[:flatbuffer_bytes]).hexdigest(), card, path)
    return Artifact(path, card, _labels(label_bytes, card, path), flatbuffer_bytes)


def check_tflite(path: Path, sha256: str | None = None) -> None:
    """Raise `ArtifactError` if a file does not begin as a TFLite flatbuffer does, or is not the one expected."""
    if not path.is_file():
        raise ArtifactError(f"model {path} does not exist or is not a file: pass the path of a .tflite file")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ArtifactError(f"model {path} cannot be read: {error.strerror or error}") from error
    if head[4:8] != TFLITE_IDENTIFIER:
        raise ArtifactError(
            f"{path} is not a TFLite model: its bytes 4 to 8 are {head[4:8]!r}, not {TFLITE_IDENTIFIER!r}; "
            "pass a .tflite file"
        )
    if sha256 is not None and (found := file_sha256(path)) != sha256.strip().lower():
        raise ArtifactError(f"{path} has SHA-256 {found}, expected {sha256}: this is not the file you pinned")


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
                _member(archive, CARD_NAME, path),
                _member(archive, LABELS_NAME, path),
                min(member.header_offset for member in members),
            )
    except zipfile.BadZipFile as error:
        raise ArtifactError(
            f"{path} carries no card: it is cut off, damaged, or not made by irv2-convert; "
            "copy it again, or open a foreign model with an explicit InputSpec"
        ) from error
    except DAMAGED_ZIP as error:
        raise ArtifactError(f"{path}: the archive at its end is damaged ({error}); copy the file again") from error


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > MAX_MEMBER_BYTES:
        raise ArtifactError(f"{path}: {name} claims {info.file_size:,} bytes, more than {MAX_MEMBER_BYTES:,}: damaged")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArtifactError(f"{path}: {name} is compressed by method {info.compress_type}, not by deflate: damaged")
    with archive.open(info) as member:
        return member.read(MAX_MEMBER_BYTES + 1)[:MAX_MEMBER_BYTES]


def _check(part: str, found: str, card: Card, path: Path) -> None:
    if card.sha256.get(part) != found:
        raise ArtifactError(f"{path}: the checksum of the {part} does not match: it is damaged; copy the file again")


def _labels(data: bytes, card: Card, path: Path) -> tuple[str, ...]:
    try:
        labels = tuple(data.decode().splitlines())
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: {LABELS_NAME} is not UTF-8 text: {error}") from error
    if len(labels) != card.classes:
        raise ArtifactError(f"{path}: {len(labels)} labels for {card.classes} classes: package it again")
    return labels
