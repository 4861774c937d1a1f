"""Read the images of a set: decode them in threads, in order, and collect those that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from convert.errors import ImageSetError
from convert.images.dataset import ImageSet
from convert.system.parallel import in_order
from edge_runtime import ImageError, InputSpec
from edge_runtime.preprocess import Pixels, load_pixels

MOST_UNREADABLE = 0.10
READ_AHEAD = 32

Result = TypeVar("Result")


@dataclass(frozen=True)
class PixelReader:
    """Decodes images in threads, a few ahead of the caller, and skips those that cannot be read.

    A message for each of the latter is added to `skipped`; see `refuse_unreadable`.
    """

    spec: InputSpec
    skipped: list[str] = field(default_factory=list)

    def read(self, image_set: ImageSet) -> Iterator[tuple[int, Pixels]]:
        """Yield the index in the set and the pixels of each readable image, in order."""
        return self._readable(self._decoded(image_set))

    def run(
        self, image_set: ImageSet, compute: Callable[[Pixels], Result], at_once: int
    ) -> Iterator[tuple[int, Result]]:
        """Yield the index in the set and `compute(pixels)` of each readable image, in order.

        `compute` is called in `at_once` threads, a few images ahead of the caller; others decode the next images.
        """

        def computed(item: tuple[int, Pixels | ImageError]) -> tuple[int, Result | ImageError]:
            index, pixels = item
            return index, pixels if isinstance(pixels, ImageError) else compute(pixels)

        return self._readable(in_order(computed, self._decoded(image_set), at_once, at_once + 1))

    def _decoded(self, image_set: ImageSet) -> Iterator[tuple[int, Pixels | ImageError]]:
        return in_order(self._load, enumerate(image_set.paths), os.cpu_count() or 1, READ_AHEAD)

    def _readable(self, outcomes: Iterator[tuple[int, Result | ImageError]]) -> Iterator[tuple[int, Result]]:
        for index, outcome in outcomes:
            if isinstance(outcome, ImageError):
                self.skipped.append(str(outcome))
            else:
                yield index, outcome

    def _load(self, item: tuple[int, Path]) -> tuple[int, Pixels | ImageError]:
        index, path = item
        try:
            return index, load_pixels(path, self.spec)
        except ImageError as error:
            return index, error


def refuse_unreadable(skipped: Sequence[str], images: ImageSet) -> None:
    """Raise `ImageSetError` if more than a tenth of a set was skipped."""
    if len(skipped) > MOST_UNREADABLE * len(images):
        raise ImageSetError(
            f"{len(skipped)} of {len(images)} images in {images.root} cannot be read, "
            f"more than {MOST_UNREADABLE:.0%}: repair or remove them; the first: {skipped[0]}"
        )


def fewest_readable(images: ImageSet) -> int:
    """Return how many images of a set can be read at least, if `refuse_unreadable` does not refuse it."""
    return len(images) - int(MOST_UNREADABLE * len(images))


def note_skipped(note: Callable[[str], object], skipped: Sequence[str], images: ImageSet) -> None:
    """Pass a line for each image that could not be read to `note`, then their number."""
    for message in skipped:
        note(f"skipped: {message}")
    if skipped:
        note(f"{len(skipped)} of {len(images)} images in {images.root} cannot be read")
