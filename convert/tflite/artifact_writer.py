"""Writes the artifact: flatbuffer with TFLite Metadata, and a zip with names, labels and card at its tail."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convert.system.atomic import write_atomically
from convert.tflite.graph import TfliteGraph
from convert.tflite.metadata import METADATA_NAME, classifier_metadata
from edge_runtime import Card
from edge_runtime.artifact import CARD_NAME, LABELS_NAME
from edge_runtime.hashing import file_sha256

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time stamp of every member: the same inputs make the same bytes."""

NAMES_NAME = "metadata.json"
"""Where Ultralytics looks for names of classes; its older releases, in whatever member comes first."""


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
    """Put the metadata that `card` calls for into a `.tflite`, and what older readers need."""
    graph = TfliteGraph(model)
    graph.repeat_operator_codes()
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
        names = class_names(content.labels, card)
        with zipfile.ZipFile(partial, "a") as archive:
            for name, data in ((NAMES_NAME, names), (LABELS_NAME, label_bytes), (CARD_NAME, card.to_bytes())):
                archive.writestr(zipfile.ZipInfo(name, ZIP_EPOCH), data)

    write_atomically(path, fill)
    return file_sha256(path)


def class_names(labels: Sequence[str], card: Card) -> bytes:
    """What Ultralytics and its like read from the zip: UTF-8, an object in JSON and a dictionary in Python alike.

    Releases before 8.3 read it as Python, later ones as JSON; so nothing is in it that the two write differently.
    It names no `task`: their classifier feeds pixels scaled to 0..1 whatever a network was trained on, and nothing
    would tell that its answers are wrong. Without one, releases before 8.4 do not open the model.
    """
    spec = card.preprocessing
    names = {str(i): label for i, label in enumerate(labels)}
    about = {"description": card.name, "imgsz": [spec.height, spec.width], "channels": 3, "batch": 1, "names": names}
    return json.dumps(about, ensure_ascii=False).encode()
