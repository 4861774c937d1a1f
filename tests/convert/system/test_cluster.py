"""Work on a real scheduler with two worker processes: in order, once, and refused in one line where it cannot be."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from importlib import metadata
from itertools import count
from typing import Any

import pytest

from convert.errors import ConvertError, MissingExtraError
from convert.system import cluster
from convert.system.cluster import connected, map_in_order
from convert.system.installation import install_command

dask = pytest.importorskip("dask")


def scaled(factor: int, item: int) -> int:
    time.sleep(0.05 * (item % 3 == 0))  # so that they are not done in their order
    return factor * item


class Tally:
    """Counts how often it was looked at since it came where it is."""

    looked = 0

    def __reduce__(self) -> tuple[type[Tally], tuple[()]]:
        return Tally, ()


def looked(tally: Tally, item: int) -> int:
    tally.looked += 1
    return tally.looked


def deadly(shared: object, item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refusing(shared: object, item: int) -> None:
    raise ConvertError(f"item {item} is not liked")


def test_results_come_in_order_though_a_worker_is_killed(two_workers: Any) -> None:
    pids, found = [worker.pid for worker in two_workers.workers.values()], []
    with connected(two_workers.scheduler_address) as client:
        for result in map_in_order(client, scaled, 10, range(30)):
            found.append(result)
            if len(found) == 3:
                os.kill(pids[0], signal.SIGKILL)
    assert found == [10 * item for item in range(30)]


def test_what_is_shared_does_not_travel_with_every_item(two_workers: Any) -> None:
    with connected(two_workers.scheduler_address) as client:
        assert max(map_in_order(client, looked, Tally(), range(40))) > 5


def test_no_more_is_begun_than_keeps_the_workers_busy_and_nothing_goes_on_after_the_end(two_workers: Any) -> None:
    taken = []

    def endless() -> Iterator[int]:
        for item in count():
            taken.append(item)
            yield item

    with connected(two_workers.scheduler_address) as client:
        with closing(map_in_order(client, scaled, 1, endless())) as results:
            assert [next(results) for _ in range(20)] == list(range(20))
        assert len(taken) <= 20 + 2 * cluster.BEGUN_A_THREAD
        deadline = time.monotonic() + 10
        while any(client.who_has().values()) or any(client.processing().values()):
            assert time.monotonic() < deadline, "workers keep what nobody will take"
            time.sleep(0.1)


def test_an_error_of_a_worker_is_raised_here(two_workers: Any) -> None:
    with (
        pytest.raises(ConvertError, match="item 0 is not liked"),
        connected(two_workers.scheduler_address) as client,
    ):
        list(map_in_order(client, refusing, None, range(3)))


def test_workers_that_die_again_and_again_are_one_line(two_workers: Any) -> None:
    two_workers.scheduler.allowed_failures = 0
    with (
        pytest.raises(ConvertError, match=r"the workers of tcp://.* died again and again"),
        connected(two_workers.scheduler_address) as client,
    ):
        list(map_in_order(client, deadly, None, range(3)))


def test_a_scheduler_that_goes_away_is_one_line(two_workers: Any) -> None:
    def closing_it() -> Iterator[int]:
        yield from range(10)
        two_workers.close()
        yield from range(10)

    with (
        pytest.raises(ConvertError, match=r"--scheduler tcp://.* went away"),
        connected(two_workers.scheduler_address) as client,
    ):
        list(map_in_order(client, scaled, 1, closing_it()))


@pytest.mark.parametrize("theirs", ["0.0.9", None])
def test_workers_with_other_versions_are_refused_before_they_are_given_work(
    theirs: str | None, two_workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As dask hears it from the workers."""

    class Client(cluster.distributed().Client):  # type: ignore[misc]
        def run(self, function: object, package: str, on_error: str) -> dict[str, object]:
            assert (function, on_error) == (metadata.version, "return")
            return {"tcp://far:1": theirs or metadata.PackageNotFoundError(package)}

    monkeypatch.setattr(cluster.distributed(), "Client", Client)
    there = f"irv2-edge {theirs}" if theirs else "no irv2-edge"
    with pytest.raises(ConvertError, match=rf"worker tcp://far:1 has {there}, here is .*: install the same there"):
        cluster.check(two_workers.scheduler_address)


def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECTION_TIMEOUT_S", 1)
    with pytest.raises(ConvertError, match=r"--scheduler tcp://127\.0\.0\.1:1 cannot be reached"):
        cluster.check("tcp://127.0.0.1:1")


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("cluster"))):
        cluster.check("tcp://x")
