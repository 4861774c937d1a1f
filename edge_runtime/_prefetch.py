"""Runs an iterator in a thread of its own, one item ahead of its consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Any, TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterable[Item], drop: bool = False) -> Generator[Item, None, None]:
    """Yield `items` in order, making the next while the last is in use.

    Args:
        items: any iterable; what it raises is raised here, after the items before it.
        drop: whether an item that still waits gives way to a newer one; if not, `items` is held up.
    """
    waiting: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(maxsize=1)  # the last is no tuple
    abandoned = threading.Event()

    def produce() -> None:
        failure = None
        try:
            for item in items:
                if drop:
                    _empty(waiting)
                if abandoned.is_set():
                    return
                waiting.put((item,))
        except BaseException as error:  # to be raised in the consumer's thread
            failure = error
        if not abandoned.is_set():
            waiting.put(failure)

    threading.Thread(target=produce, name="irv2-prefetch", daemon=True).start()
    try:
        while isinstance(entry := waiting.get(), tuple):
            yield entry[0]
    finally:
        abandoned.set()
        _empty(waiting)  # a producer that waits for room may go on, and end
    if entry is not None:
        raise entry


def _empty(waiting: queue.Queue[Any]) -> None:
    with suppress(queue.Empty):
        waiting.get_nowait()
