"""Runs an iterator in a thread of its own, one item ahead of its consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    """Follows the last item; holds what the iterator raised, if it did."""

    error: BaseException | None = None


def prefetch(items: Iterable[Item], drop: bool = False) -> Iterator[Item]:
    """Yield `items` in order, making the next while the last is in use.

    Args:
        items: any iterable; what it raises is raised here, after the items before it.
        drop: whether an item that still waits gives way to a newer one; if not, `items` is held up.
    """
    waiting: queue.Queue[Item | _End] = queue.Queue(maxsize=1)
    abandoned = threading.Event()

    def produce() -> None:
        end = _End()
        try:
            for item in items:
                if drop:
                    _empty(waiting)
                if abandoned.is_set():
                    return
                waiting.put(item)
        except BaseException as error:  # to be raised in the consumer's thread
            end.error = error
        if not abandoned.is_set():
            waiting.put(end)

    threading.Thread(target=produce, name="irv2-prefetch", daemon=True).start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
    finally:
        abandoned.set()
        _empty(waiting)  # a producer that waits for room may go on, and end
    if item.error is not None:
        raise item.error


def _empty(waiting: queue.Queue[Item]) -> None:
    with suppress(queue.Empty):
        waiting.get_nowait()
