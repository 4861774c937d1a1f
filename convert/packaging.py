"""Writes the artifact: flatbuffer with TFLite Metadata, and a zip with labels and card at its tail."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convert.atomic import write_atomically
from convert.metadata import METADATA_NAME, classifier_metadata
from convert.tflite_graph import TfliteGraph
from edge_runtime import Card
from edge_runtime.artifact import CARD_NAME, LABELS_NAME

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time stamp of every member: the same inputs make the same bytes."""


@dataclass(frozen=True)
class Package:
    """An artifact in memory: its flatbuffer with metadata, its labels, its card without the hashes."""

    flatbuffer: bytes
    labels: tuple[str, ...]
    card: Card

    def with_drift(self, drift: dict[str, Any] | None) -> Package:
        """The same artifact with another drift summary in its card, and nothing else changed."""
        return replace(self, card=replace(self.card, drift=drift))


def package(model: bytes, labels: Sequence[str], card: Card) -> Package:
    """Put the metadata that `card` calls for into a `.tflite`."""
    graph = TfliteGraph(model)
    graph.set_metadata(METADATA_NAME, classifier_metadata(card))
    return Package(graph.to_bytes(), tuple(labels), card)


def write(content: Package, path: Path) -> str:
    """Write the artifact to `path`, replacing what is there; the SHA-256 of the whole file.

    Raises:
        ConvertError: the disk is full, or the folder cannot be written to; nothing is left behind.
    """
    label_bytes = "".join(f"{label}\n" for label in content.labels).encode()
    hashes = {"flatbuffer": hashlib.sha256(content.flatbuffer), "labels": hashlib.sha256(label_bytes)}
    card = replace(content.card, sha256={part: digest.hexdigest() for part, digest in hashes.items()}).signed()

    def fill(partial: Path) -> None:
        partial.write_bytes(content.flatbuffer)
        with zipfile.ZipFile(partial, "a") as archive:
            for name, data in ((LABELS_NAME, label_bytes), (CARD_NAME, card.to_bytes())):
                archive.writestr(zipfile.ZipInfo(name, ZIP_EPOCH), data)

    write_atomically(path, fill)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
