"""Work in other threads comes in order, and not far ahead of who takes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from convert.system.parallel import ahead


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
