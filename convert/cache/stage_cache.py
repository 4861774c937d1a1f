"""Run a stage of a conversion, or return what it gave the last time if nothing it depends on has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from convert.cache.codec import pack, unpack, with_root, without_root
from convert.cache.store import Cache, Key, ago
from convert.system.progress import Progress

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Stage(Protocol[T_co]):
    """A stage whose result can be kept."""

    @property
    def root(self) -> Path:
        """Return the folder that its result and its notes may name, and that may lie elsewhere the next time."""

    def key(self) -> Key:
        """Return what its result depends on, as it is now; raise OSError if that cannot be read."""

    def compute(self, progress: Progress) -> T_co:
        """Do the work."""


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
                self.progress.note(with_root(note, stage.root))
            result: T = unpack(entry.values["result"], entry.parts, stage.root)
            return result
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
            tree, parts = pack(result, stage.root)
        except (OSError, TypeError, ValueError) as error:
            self.progress.note(f"cache: the {key.kind} is not kept: {error}")
            return
        cache.store(key, {"result": tree, "notes": [without_root(note, stage.root) for note in notes]}, parts)


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
