"""Work in other threads comes in order, and not far ahead of who takes it."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest

from convert.system.parallel import ahead, in_order


def counted(begun: list[int], number: int) -> Iterator[int]:
    for i in range(number):
        begun.append(i)
        yield i


def test_items_come_in_order_and_few_are_begun_ahead() -> None:
    begun: list[int] = []
    for number, item in enumerate(ahead(counted(begun, 50), 3)):
        assert item == number
        assert len(begun) <= number + 4
    assert begun == list(range(50))


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    found = ahead(failing(), 4)
    assert next(found) == 1
    with pytest.raises(ValueError, match="broken"):
        next(found)


def test_who_takes_no_more_ends_it() -> None:
    begun: list[int] = []
    for _ in ahead(counted(begun, 1000), 2):
        break
    assert len(begun) <= 4


def test_what_nobody_closed_may_be_collected_in_one_of_its_own_threads() -> None:
    """It cannot wait for itself there."""
    taken, closed = Event(), Event()
    found: list[Iterator[int]] = []

    def close(item: int) -> int:
        if item == 1:
            taken.wait(10)
            found[0].close()  # type: ignore[attr-defined]
            closed.set()
        return item

    found.append(in_order(close, range(3), 1, 2))
    assert next(found[0]) == 0
    taken.set()
    assert closed.wait(10)
