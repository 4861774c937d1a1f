"""Folders of images: their files, classes, order and hashes, and whether two sets overlap."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np

from convert.errors import ImageSetError
from convert.images.image_labels import ImageLabels, comparable
from edge_runtime._label_forms import WORDNET
from edge_runtime.arrays import Array
from edge_runtime.hashing import file_sha256
from edge_runtime.nearby import did_you_mean
from edge_runtime.preprocess import SUFFIXES, SUPPORTED
from edge_runtime.specs import INDEPENDENT, SOFTMAX

LEFT_BY_SYSTEMS = ("Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir")
"""Files and folders that systems leave in folders of images; the folders hold no more than thumbnails."""

SHUFFLE_SEED = 2016
UNREADABLE = "unreadable"
"""In place of the hash of a file that cannot be read."""


@dataclass(frozen=True)
class ImageSet:
    """Image files below one folder, sorted or shuffled.

    `folders` has for each file the name of its top-level folder, which is its class, or is None for a flat folder.
    `image_labels` says which labels the images have, in place of the folders; it is None unless a file says so.
    `notes` says which files and class folders below the root are not in the set. `class_folders` are those of all
    images that there are, of which this may be a part; None if it is all.
    """

    root: Path
    paths: tuple[Path, ...]
    folders: tuple[str, ...] | None
    image_labels: ImageLabels | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)
    class_folders: frozenset[str] | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, chosen: slice) -> ImageSet:
        if self.folders is None:
            return replace(self, paths=self.paths[chosen])
        there = self.class_folders or frozenset(self.folders)
        return replace(self, paths=self.paths[chosen], folders=self.folders[chosen], class_folders=there)

    @property
    def names(self) -> list[str]:
        """Return the paths relative to the folder, with forward slashes."""
        return [path.relative_to(self.root).as_posix() for path in self.paths]

    def shuffled(self) -> ImageSet:
        """Return the same images in a seeded random order."""
        order = np.random.default_rng(SHUFFLE_SEED).permutation(len(self.paths))
        folders = None if self.folders is None else tuple(self.folders[i] for i in order)
        return replace(self, paths=tuple(self.paths[i] for i in order), folders=folders)

    def with_folders(self, names: Mapping[str, str]) -> ImageSet:
        """Return the same images with other names for some of their folders."""
        folders = self.folders
        if folders is None:
            return self
        there = self.class_folders and frozenset(names.get(folder, folder) for folder in self.class_folders)
        return replace(self, folders=tuple(names.get(folder, folder) for folder in folders), class_folders=there)

    def file_hashes(self) -> dict[str, Path]:
        """Return the files by their SHA-256, without those that cannot be read."""
        hashes = {_content(path): path for path in self.paths}
        return {sha256: path for sha256, path in hashes.items() if sha256 != UNREADABLE}

    def by_size(self) -> dict[int, list[Path]]:
        """Return the files by their size in bytes, without those whose size cannot be read."""
        found: dict[int, list[Path]] = {}
        for path in self.paths:
            with suppress(OSError):
                found.setdefault(path.stat().st_size, []).append(path)
        return found

    @property
    def are_labelled(self) -> bool:
        """Return whether folders or a file say what the images show."""
        return self.folders is not None or self.image_labels is not None

    def truth(self, labels: Iterable[str], head: str = SOFTMAX) -> list[int] | Array | None:
        """Return what each image shows: the index of its class in `labels`; for independent ones bool (images, labels).

        A class folder means that its label is there, and no other. None for a flat folder without a file of labels; an
        image or a folder that fits no label is an `ImageSetError`.
        """
        labels = list(labels)
        if self.image_labels is None:
            classes = self.class_indices(labels)
            return classes if classes is None or head == SOFTMAX else np.eye(len(labels), dtype=bool)[classes]
        there = self.image_labels.of(self.names, labels)
        if head == INDEPENDENT:
            return there
        several = np.flatnonzero(there.sum(axis=1) != 1)
        if len(several):
            raise ImageSetError(
                f"--image-labels {self.image_labels.path} gives {self.names[several[0]]} {there[several[0]].sum()} "
                "labels, the network's classes exclude each other: give each image one"
            )
        return [int(index) for index in there.argmax(axis=1)]

    def class_indices(self, labels: Iterable[str]) -> list[int] | None:
        """Return for each image the index of its class in `labels`, or None for a flat folder.

        Folder and label match if they are equal, or else if they are equal after `comparable`. A folder that matches no
        label, or several, is an `ImageSetError`.
        """
        if self.folders is None:
            return None
        labels = list(labels)
        alike = matches(sorted(set(self.folders)), labels)
        for folder, indices in alike.items():
            if len(indices) > 1:
                raise ImageSetError(
                    f"folder {folder!r} in {self.root} could be {' or '.join(repr(labels[i]) for i in indices)}: "
                    "give it exactly the name of its label"
                )
        strangers = [folder for folder, indices in alike.items() if not indices]
        if strangers:
            raise ImageSetError(self._no_label(strangers, labels, {i for indices in alike.values() for i in indices}))
        return [alike[folder][0] for folder in self.folders]

    def without_folder(self, labels: Sequence[str]) -> list[str]:
        """Return the labels of which there are no images, also in what this is a part of; none for a flat folder."""
        if self.folders is None:
            return []
        folders = self.class_folders or set(self.folders)
        there = {i for indices in matches(sorted(folders), labels).values() for i in indices}
        return [label for i, label in enumerate(labels) if i not in there]

    def _no_label(self, strangers: Sequence[str], labels: Sequence[str], there: set[int]) -> str:
        """Say which folders are no label, and which labels have no folder."""
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        missing = [label for i, label in enumerate(labels) if i not in there]
        without = f", of which {shortened(missing, 3)} have no folder" if 0 < len(missing) < len(labels) else ""
        nearest = get_close_matches(strangers[0], missing, 1, cutoff=0.8)
        advice = "pass --labels FILE, name the folders after the labels, or put the images into one flat folder"
        below = self.root / strangers[0]
        if any(matches([path.name for path in below.iterdir() if path.is_dir()], labels).values()):
            advice = f"the folders in it do: pass {below}"
        if all(map(WORDNET.fullmatch, strangers)):
            advice = "they are WordNet numbers: pass --labels FILE with such numbers, as imagenet_class_index.json"
        if nearest:
            return f"folder {strangers[0]!r}{more} in {self.root} is none of the labels: did you mean {nearest[0]!r}?"
        match = "match" if more else "matches"
        return (
            f"folder {strangers[0]!r}{more} in {self.root} {match} none of the labels {shortened(labels)}{without}: "
            f"{advice}"
        )


class Snapshot:
    """State of the files of some image sets at the moment when it is made."""

    def __init__(self, *sets: ImageSet | None) -> None:
        self._states = {path: _state(path) for images in sets if images is not None for path in images.paths}

    def refuse_changes(self) -> None:
        """Raise `ImageSetError` if a file has changed since: stages of one run would have read different images."""
        for path, state in self._states.items():
            if _state(path) != state:
                raise ImageSetError(f"image {path} was changed or removed during the run: run it again")


def find_images(root: Path) -> ImageSet:
    """Find all images below `root`; its folders are classes if all images are in one. Hidden files are ignored.

    A folder that is missing, has no images, or has images beside class folders is an `ImageSetError`.
    """
    if not root.is_dir():
        raise ImageSetError(
            f"image folder {root} does not exist or is not a folder{did_you_mean(root)}: pass a folder of images"
        )
    files = sorted(path for path in _visible_files(root))
    paths = [path for path in files if path.suffix.lower() in SUFFIXES]
    others = [path for path in files if path.suffix.lower() not in SUFFIXES and path.name not in LEFT_BY_SYSTEMS]
    if not paths:
        there = f", not in {_suffixes(others)}" if others else ""
        raise ImageSetError(f"no images in {root}: it needs files ending in {', '.join(SUFFIXES)}{there}")
    depths = {len(path.relative_to(root).parts) > 1 for path in paths}
    if depths == {True, False}:
        beside = next(path for path in paths if path.parent == root)
        raise ImageSetError(f"{beside} is beside class folders: move it into one, or all images into one flat folder")
    folders = tuple(path.relative_to(root).parts[0] for path in paths) if depths == {True} else None
    return ImageSet(root, tuple(paths), folders, notes=tuple(_left_out(root, others, folders)))


def _left_out(root: Path, others: Sequence[Path], folders: Sequence[str] | None) -> Iterator[str]:
    """Say which files were not looked at, and which class folders have no image at all."""
    if others:
        inside = Counter(path.relative_to(root).parts[0] if path.parent != root else "." for path in others)
        where = shortened([f"{count} in {folder}" for folder, count in inside.items()], 5)
        yield (
            f"{root}: {len(others)} file{'s' * (len(others) > 1)} not looked at, since only images can be read "
            f"({_suffixes(others)}): {where}; {SUPPORTED}"
        )
    if folders is not None:
        names = sorted(path.name for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
        empty = [name for name in names if name not in (*set(folders), *LEFT_BY_SYSTEMS)]
        if empty:
            yield f"{root}: no image that can be read in {shortened(empty)}: nothing is measured for such a class"


def _suffixes(paths: Sequence[Path]) -> str:
    return shortened(sorted({path.suffix or path.name for path in paths}), 5)


def refuse_overlap(calibration: ImageSet, validation: ImageSet) -> None:
    """Raise `ImageSetError` if the two sets share an image: drift would be measured on images of the calibration."""
    sizes = calibration.by_size()
    alike = {size: paths for size, paths in validation.by_size().items() if size in sizes}  # few files have to be read
    known = {_content(path): path for size in alike for path in sizes[size]}
    for path in (path for paths in alike.values() for path in paths):
        sha256 = _content(path)
        if sha256 in known and sha256 != UNREADABLE:
            where = path if known[sha256] == path else f"{known[sha256]} is {path}"
            raise ImageSetError(
                f"calibration and validation share an image: {where}; "
                "drift must be measured on images that calibration never saw: take it out of one of the two"
            )


def manifest(images: ImageSet) -> list[tuple[str, str]]:
    """Return for each image, in order, its SHA-256 or `UNREADABLE` and its path below the folder."""
    return [(_content(path), name) for path, name in zip(images.paths, images.names, strict=True)]


def manifest_sha256(*sets: ImageSet | None) -> str:
    """Return one hash of the names and contents of all images, whatever their order; None is a set without images."""
    lines = sorted(" ".join(line) for images in sets if images is not None for line in manifest(images))
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _without_number(name: str) -> str:
    """Return a name without the WordNet number that folders of ImageNet have in front: n01440764_tench is a tench."""
    number, _, rest = comparable(name).partition("_")
    return rest if rest and WORDNET.fullmatch(number) else comparable(name)


READINGS: tuple[Callable[[str], str], ...] = (partial(unicodedata.normalize, "NFC"), comparable, _without_number)
"""How folders and labels are compared: as they are, or else in any case and punctuation, or else without a number."""


def matches(folders: Iterable[str], labels: Sequence[str]) -> dict[str, list[int]]:
    """Return for each folder the indices of the labels that it may mean: by the first of `READINGS` that fits any."""
    known: list[dict[str, list[int]]] = [{} for _ in READINGS]
    for found, read in zip(known, READINGS, strict=True):
        for i, label in enumerate(labels):
            found.setdefault(read(label), []).append(i)
    return {
        folder: next(filter(None, (found.get(read(folder)) for found, read in zip(known, READINGS, strict=True))), [])
        for folder in folders
    }


def _content(path: Path) -> str:
    """Return the SHA-256 of a file, or `UNREADABLE`: such files are skipped wherever images are read."""
    try:
        return file_sha256(path)
    except OSError:
        return UNREADABLE


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return inode, bytes and modification time in ns; None for a file that is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _visible_files(root: Path) -> Iterator[Path]:
    """Yield the files below `root`, except hidden ones and those in hidden folders, such as thumbnails."""
    for folder, folders, names in os.walk(root, onerror=_refuse_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in LEFT_BY_SYSTEMS]
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _refuse_unreadable(error: OSError) -> None:
    raise ImageSetError(f"folder {error.filename} cannot be read: {error.strerror}; check its permissions")


def shortened(names: Iterable[str], most: int = 10) -> str:
    """Return the names as a list of which only the first are written out."""
    names = list(names)
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
