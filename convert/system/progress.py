"""How slow stages report their progress, whatever displays it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Listens to a running conversion or comparison."""

    def stage(self, name: str) -> None:
        """Begin a stage of unknown length."""

    def track(self, items: Iterable[T], name: str, total: int) -> Iterator[T]:
        """Begin a stage of at most `total` items: yield them, and count each as done when the next is asked for."""

    def note(self, text: str) -> None:
        """Report something worth knowing in one line that stays."""


class Silent:
    """A `Progress` that shows nothing."""

    def stage(self, name: str) -> None:
        """Do nothing."""

    def track(self, items: Iterable[T], name: str, total: int) -> Iterator[T]:
        """Return an iterator over `items`."""
        return iter(items)

    def note(self, text: str) -> None:
        """Do nothing."""
