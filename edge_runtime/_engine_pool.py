"""Engines that take turns: whoever needs one waits for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edge_runtime.engines import AnyEngine
from edge_runtime.errors import EngineError


class EnginePool:
    """The engines that are idle; whoever needs one waits for it."""

    def __init__(self, engines: Sequence[AnyEngine]) -> None:
        self._count, self._closing = len(engines), threading.Lock()
        self._idle: queue.SimpleQueue[AnyEngine | None] = queue.SimpleQueue()
        for engine in engines:
            self._idle.put(engine)

    @contextmanager
    def idle(self) -> Iterator[AnyEngine]:
        """Lend an engine."""
        engine = self._idle.get()
        try:
            if engine is None:
                raise EngineError("this classifier is closed: open it again with Classifier.open")
            yield engine
        finally:
            self._idle.put(engine)

    def close(self) -> None:
        """Wait for every engine, and put None in its place."""
        with self._closing:
            for _ in range(self._count):
                self._idle.get()
            for _ in range(self._count):
                self._idle.put(None)
