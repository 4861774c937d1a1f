"""Run a stage of a conversion, or return what it gave the last time if nothing it depends on has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from convert.cache.store import Cache, Entry, Key, ago
from convert.errors import ConvertError
from convert.system.progress import Progress

T = TypeVar("T")
Encoded = tuple[Mapping[str, Any], Mapping[str, bytes]]
ROOT = "\0"
"""Stands for the folder of the images in what is kept: the same images may lie elsewhere the next time."""


class Stage(Protocol[T]):
    """A stage whose result can be kept."""

    @property
    def root(self) -> Path | None:
        """Return the folder of the images it reads, which its notes may name."""

    def key(self) -> Key:
        """Return what its result depends on, as it is now; raise OSError if that cannot be read."""

    def compute(self, progress: Progress) -> T:
        """Do the work."""

    def encode(self, result: T) -> Encoded:
        """Return a result as small JSON values and large parts, each named like a file."""

    def decode(self, entry: Entry) -> T:
        """Return the result that an entry was made from, equal in every bit."""


@dataclass
class StageCache:
    """Keeps the results of stages, and recalls them.

    Attributes:
        cache: where they are kept; None to keep nothing and recall nothing.
        progress: told what the stages tell, also when they are recalled.
        recalled: the kinds of results that were not computed again.
    """

    cache: Cache | None
    progress: Progress
    recalled: list[str] = field(default_factory=list)

    def run(self, stage: Stage[T]) -> T:
        """Return the result of a stage."""
        if self.cache is None:
            return stage.compute(self.progress)
        try:
            key = stage.key()
        except OSError:  # the stage itself says what is wrong with its inputs
            return stage.compute(self.progress)
        entry = self.cache.load(key)
        if entry is not None:
            self.recalled.append(key.kind)
            self.progress.note(f"{key.kind}: from the cache, made {ago(entry.made)}")
            for note in entry.values["notes"]:
                self.progress.note(moved(note, ROOT, stage.root))
            return stage.decode(entry)
        notes: list[str] = []
        result = stage.compute(_NoteTaker(self.progress, notes))
        self._keep(self.cache, stage, key, result, notes)
        return result

    def _keep(self, cache: Cache, stage: Stage[T], key: Key, result: T, notes: list[str]) -> None:
        """Keep a result, unless something it was made from has changed since its key was made."""
        try:
            if stage.key().digest != key.digest:
                self.progress.note(f"cache: something changed meanwhile, so the {key.kind} is not kept")
                return
            values, parts = stage.encode(result)
        except (OSError, ConvertError) as error:
            self.progress.note(f"cache: the {key.kind} is not kept: {error}")
            return
        cache.store(key, {**values, "notes": [moved(note, stage.root, ROOT) for note in notes]}, parts)


@dataclass(frozen=True)
class _NoteTaker:
    """A `Progress` that passes everything on, and writes down the notes."""

    progress: Progress
    notes: list[str]

    def stage(self, name: str) -> None:
        self.progress.stage(name)

    def track(self, items: Iterable[T], name: str, total: int) -> Iterator[T]:
        return self.progress.track(items, name, total)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.note(text)


def moved(text: str, before: Path | str | None, after: Path | str | None) -> str:
    """Return `text` with one folder's name in place of another's."""
    return text if before is None or after is None else text.replace(str(before), str(after))
