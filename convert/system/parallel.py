"""Work in several threads whose results come in the order of the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(items: Iterator[Item], most: int) -> Iterator[Item]:
    """Yield items that are computed in a thread of their own, `most` of them beyond those that the caller has taken."""
    end = object()
    thread = ThreadPoolExecutor(1)
    try:
        pending = deque(thread.submit(next, items, end) for _ in range(most))
        while (item := pending.popleft().result()) is not end:
            pending.append(thread.submit(next, items, end))
            yield cast(Item, item)
    finally:
        _end(thread)


def in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int) -> Iterator[Result]:
    """Yield `function(item)` for each item, in the order of the items.

    Args:
        function: called in threads; an exception is raised when the caller gets to that item.
        items: consumed in the caller's thread.
        ahead: at most so many items are begun beyond those that the caller has taken.
    """
    waiting = iter(items)
    pool = ThreadPoolExecutor(threads)
    try:
        pending = deque(pool.submit(function, item) for item in islice(waiting, ahead))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(waiting, 1))
            yield result
    finally:
        _end(pool)


def _end(pool: ThreadPoolExecutor) -> None:
    """End the threads of a generator that is exhausted or closed.

    After an error nobody closes it: it is garbage, which may be collected in one of these threads. That one cannot wait
    for itself.
    """
    with suppress(RuntimeError):
        pool.shutdown(cancel_futures=True)
