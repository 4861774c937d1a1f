"""A `Progress` that remembers what it was told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from convert.system.progress import Silent

T = TypeVar("T")


@dataclass
class Listener(Silent):
    """Keeps the notes, and (items done, items expected) after each item of a stage."""

    notes: list[str] = field(default_factory=list)
    counts: list[tuple[int, int]] = field(default_factory=list)

    def track(self, items: Iterable[T], name: str, total: int) -> Iterator[T]:
        for done, item in enumerate(items, 1):
            yield item
            self.counts.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)
