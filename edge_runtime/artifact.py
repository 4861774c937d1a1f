"""Opens an artifact with the standard library alone: a flatbuffer, and at its tail a zip with the card.

Everything is checked here, before an interpreter sees a byte.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.card import Card
from edge_runtime.errors import ArtifactError

TFLITE_IDENTIFIER = b"TFL3"
CARD_NAME = "card.json"
LABELS_NAME = "labels.txt"
MAX_MEMBER_BYTES = 8 * 2**20
"""Cards and label files are small: a member that claims more is refused, not inflated."""
DAMAGED_ZIP = (OSError, ValueError, RuntimeError, EOFError, OverflowError, struct.error, zlib.error)
"""What `zipfile` raises on damaged archives, beside its own `BadZipFile`."""


@dataclass(frozen=True)
class Artifact:
    """An artifact whose checksums hold.

    Attributes:
        path: of the file.
        card: what it says about itself.
        labels: one for each class.
        flatbuffer_bytes: length of the flatbuffer in front of the zip.
    """

    path: Path
    card: Card
    labels: tuple[str, ...]
    flatbuffer_bytes: int


def open_artifact(path: str | os.PathLike[str], sha256: str | None = None) -> Artifact:
    """Read and verify the card, the labels and the checksums of the artifact at `path`.

    Args:
        path: the `.tflite` file.
        sha256: expected hash of the whole file; a file cannot vouch for itself.

    Raises:
        ArtifactError: missing, not a `.tflite`, without a card, damaged, or not the file that was expected.
    """
    path = Path(path)
    check_tflite(path)
    if sha256 is not None:
        check_file_sha256(path, sha256)
    card_bytes, label_bytes, flatbuffer_bytes = _read_tail(path)
    card = Card.from_bytes(card_bytes)
    _check("labels", hashlib.sha256(label_bytes).hexdigest(), card, path)
    _check("flatbuffer", _flatbuffer_sha256(path, flatbuffer_bytes), card, path)
    return Artifact(path, card, _labels(label_bytes, card, path), flatbuffer_bytes)


def check_tflite(path: Path) -> None:
    """Raise `ArtifactError` when the file at `path` does not begin as a TFLite flatbuffer does."""
    if not path.is_file():
        raise ArtifactError(f"model {path} does not exist or is no file: pass the path of a .tflite file")
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


def check_file_sha256(path: Path, expected: str) -> None:
    """Raise `ArtifactError` when the whole file's SHA-256 is not the `expected` hexadecimal one."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.strip().lower():
        raise ArtifactError(f"{path} has SHA-256 {found}, expected {expected}: this is not the file you pinned")


def has_card(path: Path) -> bool:
    """Whether a zip with a card stands at the end of the file at `path`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return CARD_NAME in archive.namelist()
    except (zipfile.BadZipFile, *DAMAGED_ZIP):
        return False


def _read_tail(path: Path) -> tuple[bytes, bytes, int]:
    """Card, labels and the offset at which the zip begins."""
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


def _flatbuffer_sha256(path: Path, length: int) -> str:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        return hashlib.sha256(view[:length]).hexdigest()


def _check(part: str, found: str, card: Card, path: Path) -> None:
    if card.sha256.get(part) != found:
        raise ArtifactError(f"{path}: the checksum of the {part} does not hold: it is damaged; copy the file again")


def _labels(data: bytes, card: Card, path: Path) -> tuple[str, ...]:
    try:
        labels = tuple(data.decode().splitlines())
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: {LABELS_NAME} is not UTF-8 text: {error}") from error
    if len(labels) != card.classes:
        raise ArtifactError(f"{path}: {len(labels)} labels for {card.classes} classes: package it again")
    return labels
