"""A pool of engines for several threads to share."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edge_runtime.engines import AnyEngine
from edge_runtime.errors import EngineError


class EnginePool:
    """Engines lent to one thread at a time."""

    def __init__(self, engines: Sequence[AnyEngine]) -> None:
        self._count, self._closing = len(engines), threading.Lock()
        self._idle: queue.SimpleQueue[AnyEngine | None] = queue.SimpleQueue()
        for engine in engines:
            self._idle.put(engine)

    @contextmanager
    def borrow(self) -> Iterator[AnyEngine]:
        """Lend an idle engine, waiting for one if need be.

        Raises:
            EngineError: the pool is closed.
        """
        engine = self._idle.get()
        try:
            if engine is None:
                raise EngineError("this classifier is closed: open it again with Classifier.open")
            yield engine
        finally:
            self._idle.put(engine)

    def close(self) -> None:
        """Wait until every engine is idle, and let go of them; closing twice does no harm."""
        with self._closing:
            for _ in range(self._count):
                self._idle.get()
            for _ in range(self._count):
                self._idle.put(None)
