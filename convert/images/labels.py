"""Label files: the names of a network's classes."""

from __future__ import annotations

from pathlib import Path

from convert.errors import SourceError


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the lines of a label file; a `SourceError` if it cannot be read, is empty, or has a label twice."""
    try:
        labels = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"--labels {path} cannot be read as UTF-8 text: {error}") from error
    if not labels:
        raise SourceError(f"--labels {path} is empty: write one label a line")
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise SourceError(f"--labels {path} has {twice!r} twice: every class needs a label of its own")
    return labels
