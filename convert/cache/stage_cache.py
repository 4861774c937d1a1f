"""Run a stage of a conversion, or return what it gave the last time if nothing it depends on has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from convert.cache.codec import pack, unpack
from convert.cache.store import Cache, Key, ago
from convert.system.progress import Progress

T = TypeVar("T")


@dataclass(frozen=True)
class Stage(Generic[T]):
    """A stage whose result can be kept.

    Attributes:
        root: the folder that its result and its notes may name, and that may lie elsewhere the next time.
        key: returns what its result depends on, as it is now; raises OSError if that cannot be read.
        compute: does the work.
    """

    root: Path
    key: Callable[[], Key]
    compute: Callable[[Progress], T]


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
        """Return the result of a stage, and keep it unless something it was made from has changed meanwhile."""
        if self.cache is None:
            return stage.compute(self.progress)
        try:
            key = stage.key()
        except OSError:  # the stage itself says what is wrong with its inputs
            return stage.compute(self.progress)
        files = self.cache.load(key)
        result: T
        if files is not None:
            result, notes, made = unpack(files, stage.root)
            self.recalled.append(key.kind)
            for note in (f"{key.kind}: from the cache, made {ago(made)}", *notes):
                self.progress.note(note)
            return result
        taker = _NoteTaker(self.progress)
        result = stage.compute(taker)
        try:
            if stage.key().digest == key.digest:
                self.cache.store(key, pack((result, taker.notes, time.time()), stage.root))
            else:
                self.progress.note(f"cache: something changed meanwhile, so the {key.kind} is not kept")
        except (OSError, TypeError, ValueError) as error:
            self.progress.note(f"cache: the {key.kind} is not kept: {error}")
        return result


@dataclass(frozen=True)
class _NoteTaker:
    """A `Progress` that passes everything on, and writes down the notes."""

    progress: Progress
    notes: list[str] = field(default_factory=list)

    def stage(self, name: str) -> None:
        self.progress.stage(name)

    def track(self, items: Iterable[T], name: str, total: int) -> Iterator[T]:
        return self.progress.track(items, name, total)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.note(text)
