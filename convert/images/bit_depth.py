"""Pictures of more than 8 bits whose values use a few of them: they come out nearly black."""

from __future__ import annotations

from collections.abc import Iterator

from convert.images.dataset import ImageSet
from edge_runtime.preprocess import looks_black

LOOKED_AT = 40
"""Pictures of a set that are looked at; of most, no more than the header is read."""


def dark_notes(images: ImageSet) -> Iterator[str]:
    """Say if some of a set, looked at here and there, hold 16-bit values that end far below white."""
    some = images.paths[:: max(1, len(images) // LOOKED_AT)]
    notes = [note for path in some if (note := looks_black(path)) is not None]
    if notes:
        yield f"{len(notes)} of {len(some)} images looked at in {images.root} are nearly black: {notes[0]}"
