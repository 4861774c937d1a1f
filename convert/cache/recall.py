"""A slow step, or what it gave the last time that everything was as it is now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from convert.cache.store import Cache, Entry, Key
from convert.errors import ConvertError
from convert.system.progress import Progress

T = TypeVar("T")
Encoded = tuple[Mapping[str, Any], Mapping[str, bytes]]
ROOT = "\0"
"""Stands for the folder of the images in what is kept: the same images may lie elsewhere the next time."""


@dataclass(frozen=True)
class CachedStage(Generic[T]):
    """A step whose result can be kept.

    Attributes:
        key: what its result depends on, as it is now; OSError where that cannot be read.
        compute: the step itself.
        encode: its result as small JSON values and large parts.
        decode: the result that an entry was made from, equal in every bit.
        root: of the images it reads, for what it notes about them.
    """

    key: Callable[[], Key]
    compute: Callable[[Progress], T]
    encode: Callable[[T], Encoded]
    decode: Callable[[Entry], T]
    root: Path | None = None


@dataclass
class StageCache:
    """Keeps results of steps, and recalls them.

    Attributes:
        cache: where they are kept; None to keep nothing and recall nothing.
        progress: told what the steps tell, also when they are recalled.
        recalled: the kinds of what was not computed again.
    """

    cache: Cache | None
    progress: Progress
    recalled: list[str] = field(default_factory=list)

    def of(self, step: CachedStage[T]) -> T:
        """The result of a step."""
        if self.cache is None:
            return step.compute(self.progress)
        try:
            key = step.key()
        except OSError:  # the step itself says what is wrong with its inputs
            return step.compute(self.progress)
        entry = self.cache.load(key)
        if entry is not None:
            self.recalled.append(key.kind)
            self.progress.note(f"{key.kind}: from the cache, made {ago(entry.made)}")
            for note in entry.values["notes"]:
                self.progress.note(moved(note, ROOT, step.root))
            return step.decode(entry)
        heard = Listening(self.progress)
        result = step.compute(heard)
        self._keep(self.cache, step, key, result, heard.notes)
        return result

    def _keep(self, cache: Cache, step: CachedStage[T], key: Key, result: T, notes: list[str]) -> None:
        """Keep a result, unless something it was made from has changed since its key was made."""
        try:
            if step.key().digest != key.digest:
                self.progress.note(f"cache: something changed meanwhile, so the {key.kind} is not kept")
                return
            values, parts = step.encode(result)
        except (OSError, ConvertError) as error:
            self.progress.note(f"cache: the {key.kind} is not kept: {error}")
            return
        cache.store(key, {**values, "notes": [moved(note, step.root, ROOT) for note in notes]}, parts)


@dataclass(frozen=True)
class Listening:
    """A `Progress` that passes everything on, and remembers the notes."""

    progress: Progress
    notes: list[str] = field(default_factory=list)

    def stage(self, name: str) -> None:
        """See `Progress`."""
        self.progress.stage(name)

    def track(self, items: Iterable[T], name: str, total: int) -> Iterator[T]:
        """See `Progress`."""
        return self.progress.track(items, name, total)

    def note(self, text: str) -> None:
        """See `Progress`."""
        self.notes.append(text)
        self.progress.note(text)


def moved(text: str, before: Path | str | None, after: Path | str | None) -> str:
    """`text` with one folder's name in place of another's."""
    return text if before is None or after is None else text.replace(str(before), str(after))


UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def ago(moment: float) -> str:
    """How long ago a moment (seconds since 1970) was, in the largest unit that fits."""
    seconds = int(time.time() - moment)
    for length, unit in UNITS:
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
