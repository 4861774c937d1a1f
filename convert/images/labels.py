"""The host's view of label files: errors of a source, and which class folders their WordNet numbers name."""

from __future__ import annotations

from pathlib import Path

from convert.errors import as_source_errors
from convert.images.dataset import ImageSet
from edge_runtime import labels
from edge_runtime.labels import Labels

__all__ = ["Labels", "read_labels", "with_label_names"]


def read_labels(path: Path) -> Labels:
    """Return the labels of a file in any of the forms of `edge_runtime.labels`; a `SourceError` if it has none."""
    with as_source_errors():
        return labels.read_labels(path)


def with_label_names(images: ImageSet, found: Labels) -> ImageSet:
    """Return a set whose class folders that are called by WordNet numbers (n01440764) have their label's name."""
    return images.with_folders(found.by_wordnet)
