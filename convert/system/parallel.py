"""Work in several threads whose results come in the order of the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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
        pool.shutdown(cancel_futures=True)
