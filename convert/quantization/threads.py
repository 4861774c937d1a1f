"""Threads for many small pieces of linear algebra: one per piece, none inside a piece."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def all_cores() -> Iterator[Executor]:
    """Yield an executor with one thread per core, in each of which BLAS has one thread.

    Threads inside a BLAS wait for each other by spinning: for matrices of a few hundred rows, and on a machine that
    does something else as well, that costs many times what it gains. Results are the same on any number of cores.
    """
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        yield threads
