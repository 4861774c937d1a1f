"""Flatbuffer, labels and card -> the artifact: the flatbuffer with TFLite Metadata, and a zip appended to it."""

from __future__ import annotations

import functools
import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convert.system.temporary import write_atomically
from convert.tflite.graph import TfliteGraph
from convert.tflite.metadata import METADATA_NAME, classifier_metadata
from edge_runtime import Card
from edge_runtime.artifact import CARD_NAME, LABELS_NAME

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every member, so that the same inputs make the same bytes."""

NAMES_NAME = "metadata.json"
"""Member where Ultralytics looks for the names of the classes; its older releases look in the first member."""


@dataclass(frozen=True)
class Package:
    """An artifact in memory: its flatbuffer with metadata, its labels, and its card without hashes."""

    flatbuffer: bytes
    labels: tuple[str, ...]
    card: Card

    @functools.cached_property
    def flatbuffer_sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the flatbuffer."""
        return hashlib.sha256(self.flatbuffer).hexdigest()

    def with_drift(self, drift: dict[str, Any] | None) -> Package:
        """Return the same artifact with another drift summary in its card."""
        return replace(self, card=replace(self.card, drift=drift))


def package(model: bytes, labels: Sequence[str], card: Card) -> Package:
    """Add to a `.tflite` the metadata that `card` describes, and the operator codes that older readers need."""
    graph = TfliteGraph(model)
    graph.repeat_operator_codes()
    graph.set_metadata(METADATA_NAME, classifier_metadata(card))
    return Package(graph.to_bytes(), tuple(labels), card)


def write(content: Package, path: Path) -> str:
    """Write the artifact to `path`, replacing any file there, and return the SHA-256 of the whole file.

    Raises:
        ConvertError: the disk is full, or the folder is not writable; nothing is left behind.
    """
    label_bytes = "".join(f"{label}\n" for label in content.labels).encode()
    whole = hashlib.sha256(content.flatbuffer)  # of what the file begins with
    hashes = {"flatbuffer": whole.hexdigest(), "labels": hashlib.sha256(label_bytes).hexdigest()}
    card = replace(content.card, sha256=hashes).signed()

    def fill(partial: Path) -> None:
        partial.write_bytes(content.flatbuffer)
        names = class_names(content.labels, card)
        with zipfile.ZipFile(partial, "a") as archive:
            for name, data in ((NAMES_NAME, names), (LABELS_NAME, label_bytes), (CARD_NAME, card.to_bytes())):
                archive.writestr(zipfile.ZipInfo(name, ZIP_EPOCH), data)
        with partial.open("rb") as file:
            file.seek(len(content.flatbuffer))
            whole.update(file.read())

    write_atomically(path, fill)
    return whole.hexdigest()


def class_names(labels: Sequence[str], card: Card) -> bytes:
    """Return the class names for Ultralytics: UTF-8 text that is both a JSON object and a Python dictionary.

    Its releases before 8.3 parse the text as Python, later ones as JSON, so it holds nothing that the two write
    differently. It names no `task`: their classifier scales pixels to 0..1 whatever a network was trained on, and its
    wrong predictions would go unnoticed. Without a task, releases before 8.4 do not open the model.
    """
    spec = card.preprocessing
    names = {str(i): label for i, label in enumerate(labels)}
    about = {
        "description": card.name,
        "imgsz": [spec.height, spec.width],
        "channels": spec.channels,
        "batch": 1,
        "names": names,
    }
    return json.dumps(about, ensure_ascii=False).encode()
