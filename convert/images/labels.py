"""The host's view of label files: errors of a source, what is told of them, and which class folders they name."""

from __future__ import annotations

from pathlib import Path

from convert.errors import as_source_errors
from convert.images.dataset import ImageSet
from edge_runtime import labels
from edge_runtime.labels import Labels

__all__ = ["Labels", "notes_on", "read_labels", "with_label_names"]


def read_labels(path: Path) -> Labels:
    """Return the labels of a file in any of the forms of `edge_runtime.labels`; a `SourceError` if it has none."""
    with as_source_errors():
        return labels.read_labels(path)


def notes_on(found: Labels, file: str) -> list[str]:
    """Return what there is to tell: what the file was taken for, and which names were changed."""
    lines = [f"{file}: {len(found.names)} labels, {found.form}"]
    if found.twice:
        changed = [repr(name) for name in found.names if name.startswith(f"{found.twice[0]} (")]
        more = f", and {len(found.twice) - 1} more names" if len(found.twice) > 1 else ""
        lines.append(f"{file}: {found.twice[0]!r} several times, told apart as {' and '.join(changed)}{more}")
    return lines


def with_label_names(images: ImageSet, found: Labels) -> ImageSet:
    """Return a set whose class folders that are called by WordNet numbers (n01440764) have their label's name."""
    return images.with_folders(found.by_wordnet)
