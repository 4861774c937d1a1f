"""Runs an iterator in a thread of its own, one item ahead of whoever asks for the next."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], drop: bool = False) -> Iterator[Item]:
    """Yield `items` in their order, the next of which is made while the last is used.

    Args:
        items: an iterator; what it raises is raised here, after the items before it.
        drop: whether an item that still waits gives way to a newer one; else `items` waits.
    """
    slot = _Slot[Item](drop)
    threading.Thread(target=_fill, args=(slot, iter(items)), name="irv2-ahead", daemon=True).start()
    try:
        while slot.wait():
            yield slot.take()
    finally:
        slot.leave()
    if slot.error is not None:
        raise slot.error


def _fill(slot: _Slot[Item], items: Iterator[Item]) -> None:
    error = None
    try:
        for item in items:
            if not slot.put(item):
                return
    except BaseException as caught:  # to be raised where the items are used
        error = caught
    slot.finish(error)


class _Slot(Generic[Item]):
    """Room for one item, between the thread that makes items and the one that uses them."""

    def __init__(self, drop: bool) -> None:
        self.error: BaseException | None = None
        self._drop = drop
        self._waiting: list[Item] = []
        self._finished = self._left = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Let `item` wait to be used; False when nobody will."""
        with self._changed:
            self._changed.wait_for(lambda: self._drop or not self._waiting or self._left)
            self._waiting = [item]
            self._changed.notify_all()
            return not self._left

    def finish(self, error: BaseException | None) -> None:
        """There are no more items, because of `error` if there is one."""
        with self._changed:
            self._finished, self.error = True, error
            self._changed.notify_all()

    def wait(self) -> bool:
        """Wait for an item; False when there are no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._finished)
            return bool(self._waiting)

    def take(self) -> Item:
        """The item that waits."""
        with self._changed:
            item = self._waiting.pop()
            self._changed.notify_all()
            return item

    def leave(self) -> None:
        """Nobody will use any more items."""
        with self._changed:
            self._left = True
            self._changed.notify_all()
