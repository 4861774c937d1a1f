"""One item ahead, in order; the newest when there is no time for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edge_runtime._prefetch import prefetch

PATIENCE = 10.0
"""Seconds after which a test that waits gives up."""


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


def noting(count: int, made: list[int]) -> Iterator[int]:
    for item in range(count):
        made.append(item)
        yield item


def running() -> set[threading.Thread]:
    """The threads that prefetch: also those of other tests, whose cameras are silent for ever."""
    return {thread for thread in threading.enumerate() if thread.name == "irv2-prefetch"}


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_every_item_comes_in_order(count: int) -> None:
    assert list(prefetch(range(count))) == list(range(count))


def test_the_next_item_is_made_while_the_last_is_used() -> None:
    made: list[int] = []
    items = prefetch(noting(5, made))
    assert next(items) == 0
    assert eventually(lambda: made == [0, 1, 2])  # one waits, one is made and stands in line
    time.sleep(0.05)
    assert made == [0, 1, 2]
    assert list(items) == [1, 2, 3, 4]


def test_what_is_slow_to_make_and_slow_to_use_takes_the_time_of_one() -> None:
    def slowly() -> Iterator[int]:
        for item in range(20):
            time.sleep(0.02)
            yield item

    start = time.perf_counter()
    for _ in prefetch(slowly()):
        time.sleep(0.02)
    assert time.perf_counter() - start < 20 * 0.04 * 0.8


def test_dropping_keeps_the_newest_and_the_order() -> None:
    handed_over: list[int] = []
    bursts = [threading.Event() for _ in range(3)]

    def camera() -> Iterator[int]:
        for item in range(10):
            if item % 3 == 1:
                assert bursts[item // 3].wait(PATIENCE)
            yield item
            handed_over.append(item)

    frames = prefetch(camera(), drop=True)
    seen = [next(frames)]
    for burst, event in enumerate(bursts):
        event.set()
        assert eventually(lambda last=3 * burst + 3: last in handed_over)  # type: ignore[misc]
        seen.append(next(frames))
    assert seen == [0, 3, 6, 9]
    assert list(frames) == []


@pytest.mark.parametrize("drop", [False, True])
def test_an_error_comes_after_the_items_before_it(drop: bool) -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("the camera was unplugged")

    items = prefetch(failing(), drop)
    assert next(items) == 1
    with pytest.raises(OSError, match="the camera was unplugged"):
        next(items)


@pytest.mark.parametrize("drop", [False, True])
def test_leaving_early_ends_the_thread(drop: bool) -> None:
    before, made = running(), list[int]()

    def endless() -> Iterator[int]:
        while True:
            made.append(0)
            time.sleep(0.001)
            yield 0

    items = prefetch(endless(), drop)
    assert next(items) == 0  # type: ignore[call-overload]
    (thread,) = running() - before
    items.close()  # type: ignore[attr-defined]
    assert eventually(lambda: not thread.is_alive())
    count = len(made)
    time.sleep(0.02)
    assert len(made) == count


def test_one_ahead_of_another() -> None:
    squares = prefetch(item * item for item in prefetch(range(50)))
    assert list(squares) == [item * item for item in range(50)]
