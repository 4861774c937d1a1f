"""Folders of images: which files, which classes, in which order, and whether two sets overlap."""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from convert.errors import ImageSetError
from edge_runtime import ImageError, InputSpec
from edge_runtime.hashing import file_sha256
from edge_runtime.preprocess import SUFFIXES, Pixels, load_pixels

MOST_UNREADABLE = 0.10
SHUFFLE_SEED = 2016
READ_AHEAD = 32
UNREADABLE = "unreadable"
"""In place of a file's hash."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ImageSet:
    """Image files below one folder.

    Attributes:
        root: the folder.
        paths: the files, sorted or shuffled.
        folders: for each file the name of the top-level folder it is in, its class; None in a flat folder.
    """

    root: Path
    paths: tuple[Path, ...]
    folders: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, count: int | None) -> ImageSet:
        """A seeded shuffle of the set, cut to `count` images; None keeps all of them."""
        order = np.random.default_rng(SHUFFLE_SEED).permutation(len(self.paths))[:count]
        folders = None if self.folders is None else tuple(self.folders[i] for i in order)
        return replace(self, paths=tuple(self.paths[i] for i in order), folders=folders)

    def part(self, positions: range) -> ImageSet:
        """The images at some positions."""
        chosen = slice(positions.start, positions.stop)
        folders = None if self.folders is None else self.folders[chosen]
        return replace(self, paths=self.paths[chosen], folders=folders)

    def first(self, count: int | None) -> ImageSet:
        """The first `count` images; None keeps all of them."""
        folders = None if self.folders is None else self.folders[:count]
        return replace(self, paths=self.paths[:count], folders=folders)

    def last(self, count: int) -> ImageSet:
        """The last `count` images."""
        start = len(self.paths) - count
        folders = None if self.folders is None else self.folders[start:]
        return replace(self, paths=self.paths[start:], folders=folders)

    def file_hashes(self) -> dict[str, Path]:
        """SHA-256 of every file -> the file; those that cannot be read are left out."""
        hashes = {_content(path): path for path in self.paths}
        return {sha256: path for sha256, path in hashes.items() if sha256 != UNREADABLE}

    def by_size(self) -> dict[int, list[Path]]:
        """Bytes -> the files of that size; those that cannot be looked at are left out."""
        found: dict[int, list[Path]] = {}
        for path in self.paths:
            with suppress(OSError):
                found.setdefault(path.stat().st_size, []).append(path)
        return found

    def class_indices(self, labels: Iterable[str]) -> list[int] | None:
        """For each image the index of its class among `labels`, or None for a flat folder.

        Folder and label match when they are equal, or else the same after `comparable`.

        Raises:
            ImageSetError: a folder is no label, or could be several.
        """
        if self.folders is None:
            return None
        labels = list(labels)
        index = {folder: self._class_index(folder, labels) for folder in sorted(set(self.folders))}
        return [index[folder] for folder in self.folders]

    def _class_index(self, folder: str, labels: list[str]) -> int:
        if folder in labels:
            return labels.index(folder)
        alike = [i for i, label in enumerate(labels) if comparable(label) == comparable(folder)]
        if not alike:
            raise ImageSetError(
                f"folder {folder!r} in {self.root} is none of the labels {_shortened(labels)}: "
                "name the folders after the labels, pass --labels FILE, or put the images into one flat folder"
            )
        if len(alike) > 1:
            raise ImageSetError(
                f"folder {folder!r} in {self.root} could be {' or '.join(repr(labels[i]) for i in alike)}: "
                "give it exactly the name of its label"
            )
        return alike[0]


@dataclass
class PixelReader:
    """Decodes images in threads, a little ahead of who reads them, and counts what cannot be read.

    Attributes:
        spec: how images are prepared.
        skipped: one message for each file that could not be read, in the order of the set.
        most_unreadable: largest part of a set that may be unreadable.
    """

    spec: InputSpec
    skipped: list[str] = field(default_factory=list)
    most_unreadable: float = MOST_UNREADABLE

    def read(self, image_set: ImageSet) -> Iterator[tuple[int, Pixels]]:
        """Index in the set and pixels of each readable image, in order.

        Raises:
            ImageSetError: at the end, when more than `most_unreadable` could not be read.
        """
        return self._readable(self._decoded(image_set), image_set)

    def run(
        self, image_set: ImageSet, compute: Callable[[Pixels], Result], at_once: int
    ) -> Iterator[tuple[int, Result]]:
        """Index in the set and `compute(pixels)` of each readable image, in order; images are decoded meanwhile.

        Args:
            image_set: the images.
            compute: called in `at_once` threads, a little ahead of who asks.
            at_once: how many images are computed at once.

        Raises:
            ImageSetError: at the end, when more than `most_unreadable` could not be read.
        """

        def computed(item: tuple[int, Pixels | ImageError]) -> tuple[int, Result | ImageError]:
            index, pixels = item
            return index, pixels if isinstance(pixels, ImageError) else compute(pixels)

        return self._readable(in_order(computed, self._decoded(image_set), at_once, at_once + 1), image_set)

    def _decoded(self, image_set: ImageSet) -> Iterator[tuple[int, Pixels | ImageError]]:
        return in_order(self._load, enumerate(image_set.paths), os.cpu_count() or 1, READ_AHEAD)

    def _readable(
        self, outcomes: Iterator[tuple[int, Result | ImageError]], image_set: ImageSet
    ) -> Iterator[tuple[int, Result]]:
        before = len(self.skipped)
        for index, outcome in outcomes:
            if isinstance(outcome, ImageError):
                self.skipped.append(str(outcome))
            else:
                yield index, outcome
        refuse_unreadable(self.skipped[before:], image_set, self.most_unreadable)

    def _load(self, item: tuple[int, Path]) -> tuple[int, Pixels | ImageError]:
        index, path = item
        try:
            return index, load_pixels(path, self.spec)
        except ImageError as error:
            return index, error


@dataclass(frozen=True)
class Snapshot:
    """What files were like at one moment: (inode, bytes, time of the last change), or None for what was not there."""

    states: dict[Path, tuple[int, int, int] | None]

    @classmethod
    def of(cls, *sets: ImageSet | None) -> Snapshot:
        """The files of some sets as they are now."""
        return cls({path: _state(path) for images in sets if images is not None for path in images.paths})

    def refuse_changes(self) -> None:
        """Raise `ImageSetError` when a file is no longer what it was: some stages saw the one, some the other."""
        for path, state in self.states.items():
            if _state(path) != state:
                raise ImageSetError(f"image {path} was changed or removed while it was used: run it again")


def in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int) -> Iterator[Result]:
    """`function` of each item, in the order of the items.

    Args:
        function: called in threads; what it raises is raised here, in its place.
        items: read in the thread of whoever asks.
        threads: how many.
        ahead: how many items are begun, at most, beyond those that were asked for.
    """
    waiting = iter(items)
    pool = ThreadPoolExecutor(threads)
    try:
        pending = deque(pool.submit(function, item) for item in islice(waiting, ahead))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(waiting, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def refuse_unreadable(skipped: Sequence[str], images: ImageSet, most: float = MOST_UNREADABLE) -> None:
    """Raise `ImageSetError` when more than the part `most` of a set was skipped."""
    if len(skipped) > most * len(images):
        raise ImageSetError(
            f"{len(skipped)} of {len(images)} images in {images.root} cannot be read, "
            f"more than {most:.0%}; the first: {skipped[0]}"
        )


def note_skipped(note: Callable[[str], object], skipped: Sequence[str], images: ImageSet) -> None:
    """Tell `note` of each image that could not be read, and how many there were."""
    for message in skipped:
        note(f"skipped: {message}")
    if skipped:
        note(f"{len(skipped)} of {len(images)} images in {images.root} cannot be read")


def find_images(root: Path) -> ImageSet:
    """All images below `root`; its folders are classes when no image lies beside them. Hidden ones do not count.

    Raises:
        ImageSetError: no such folder, no image in it, or images beside class folders.
    """
    if not root.is_dir():
        raise ImageSetError(f"image folder {root} does not exist or is no folder: pass a folder of images")
    paths = sorted(path for path in _visible_files(root) if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ImageSetError(f"no image in {root}: it needs files ending in {', '.join(SUFFIXES)}")
    depths = {len(path.relative_to(root).parts) > 1 for path in paths}
    if depths == {True, False}:
        beside = next(path for path in paths if path.parent == root)
        raise ImageSetError(f"{beside} lies beside class folders: move it into one, or all images into one flat folder")
    folders = tuple(path.relative_to(root).parts[0] for path in paths) if depths == {True} else None
    return ImageSet(root, tuple(paths), folders)


def refuse_overlap(calibration: ImageSet, validation: ImageSet) -> None:
    """Raise `ImageSetError` when the two sets share an image: drift would be measured on known ones."""
    sizes = calibration.by_size()
    alike = {size: paths for size, paths in validation.by_size().items() if size in sizes}  # few are to be read
    known = {_content(path): path for size in alike for path in sizes[size]}
    for path in (path for paths in alike.values() for path in paths):
        sha256 = _content(path)
        if sha256 in known and sha256 != UNREADABLE:
            raise ImageSetError(
                f"calibration and validation share an image: {known[sha256]} is {path}; "
                "drift must be measured on images that calibration never saw"
            )


def manifest_sha256(image_set: ImageSet) -> str:
    """One hash for the names and contents of a set's files, whatever their order."""
    lines = sorted(f"{_content(path)} {path.relative_to(image_set.root)}" for path in image_set.paths)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def comparable(name: str) -> str:
    """Lower case, with every run of other characters than letters and digits as one underscore."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def _content(path: Path) -> str:
    """SHA-256 of a file; one word for all that cannot be read, which are skipped wherever images are."""
    try:
        return file_sha256(path)
    except OSError:
        return UNREADABLE


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _visible_files(root: Path) -> Iterator[Path]:
    """Files below `root`; hidden files and folders (thumbnails, what macOS leaves behind) are none of the set."""
    for folder, folders, names in os.walk(root, onerror=_refuse_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _refuse_unreadable(error: OSError) -> None:
    raise ImageSetError(f"folder {error.filename} cannot be read: {error.strerror}")


def _shortened(names: Iterable[str], most: int = 10) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
