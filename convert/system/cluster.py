"""Workers of a dask scheduler: a connection that is refused in one line, and work whose results come in its order."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib import metadata
from itertools import islice
from typing import Any, TypeVar

from convert.errors import ConvertError, MissingExtraError
from convert.system.installation import not_installed
from convert.system.machine import version

CONNECTION_TIMEOUT_S = 20
BEGUN_A_THREAD = 2
"""Items begun for each thread of the workers: one is computed, the other is there when it is done."""
NO_WARNING = {"distributed.admin.large-graph-warning-threshold": "1TB"}
"""Items travel with the work, so that it can be done again elsewhere, and dask warns of more than 10 MB."""

SAME_EVERYWHERE = ("irv2-edge", "ai-edge-litert", "numpy")
"""Packages whose versions decide about what workers compute."""

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


def distributed() -> Any:
    """Return dask.distributed; without it the extra is named in a `MissingExtraError`."""
    try:
        return importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        raise MissingExtraError(not_installed(str(error.name), "cluster")) from error


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Yield a client of the scheduler at an address, tcp://HOST:PORT.

    Raises:
        ConvertError: dask.distributed is not installed; the scheduler cannot be reached, or goes away within the block;
            a worker has other versions; workers die again and again. What a worker raises is raised again.
    """
    dask = distributed()
    try:
        opened = dask.Client(address, timeout=CONNECTION_TIMEOUT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConvertError(
            f"--scheduler {address} cannot be reached ({error}): pass tcp://HOST:PORT of a dask scheduler"
        ) from error
    with opened as client:
        try:
            _refuse_other_versions(client, address)
            yield client
        except dask.KilledWorker as error:
            raise ConvertError(f"the workers of {address} died again and again: {error}; look at their logs") from error
        except (CancelledError, dask.comm.CommClosedError) as error:
            raise ConvertError(f"--scheduler {address} went away: start it again and repeat the command") from error


def _refuse_other_versions(client: Any, address: str) -> None:
    """Refuse a worker that would not compute the same; dask waits for ever for one that cannot even import our code."""
    for package in SAME_EVERYWHERE:
        ours = version(package)
        for worker, found in client.run(metadata.version, package, on_error="return").items():
            theirs = None if isinstance(found, Exception) else found
            if theirs != ours:
                there = f"{package} {theirs}" if theirs else f"no {package}"
                raise ConvertError(
                    f"--scheduler {address}: its worker {worker} has {there}, here is {ours}: install the same there"
                )


def check(address: str) -> None:
    """Raise the `ConvertError` that `connected` raises for a scheduler that cannot be reached."""
    with connected(address):
        pass


def map_in_order(
    client: Any, function: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
) -> Iterator[Result]:
    """Yield `function(shared, item)` for each item, in the order of the items; items are done again if a worker dies.

    `shared` travels to a worker once, as long as that is busy, and all calls there get the same object; it goes when
    this iterator does. No more is begun than keeps the workers busy, and what is begun is dropped when the iterator is
    closed.
    """
    dask, waiting, pending = importlib.import_module("dask"), iter(items), deque[Any]()
    with dask.config.set(NO_WARNING):
        there = client.submit(_itself, shared, pure=False)
        try:
            while True:
                wanted = BEGUN_A_THREAD * max(1, sum(client.nthreads().values())) - len(pending)
                begun = islice(waiting, max(0, wanted))
                pending.extend(client.submit(function, there, item, pure=False) for item in begun)
                if not pending:
                    return
                result: Result = pending.popleft().result()
                yield result
        finally:
            client.cancel([*pending, there])


def threads_of_worker() -> int:
    """Return how many calls the worker that calls this makes at once."""
    return int(distributed().get_worker().state.nthreads)


def _itself(shared: Shared) -> Shared:
    return shared
