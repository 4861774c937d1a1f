"""Engines on a delegate that proved itself and is asked to do so again, every so often, as long as it works.

Drivers that answer wrongly do not always begin with it. Every `CHECK_EVERY` images the delegate answers the probe once
more, which takes as long as an image: 1.6 % of its time. If it fails, or answers NaN or not at all, the CPU takes over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.arrays import Array
from edge_runtime.delegates import CPU
from edge_runtime.engines import AnyEngine, Receipt
from edge_runtime.errors import DelegateError, EngineError

if TYPE_CHECKING:
    from edge_runtime.expectation import Expectation

CHECK_EVERY = 64
NOT_FINITE = "it answers with NaN or infinity"


@dataclass
class Watch:
    """What the workers on one delegate share.

    Attributes:
        requested: the delegate, as it was asked for.
        expectation: what it has to answer to the probe.
        on_cpu: returns an engine in its place; None where the CPU must not, or cannot, take over.
        reason: why it is not used any more; None while it is.
    """

    requested: str
    expectation: Expectation
    on_cpu: Callable[[], AnyEngine] | None
    reason: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, error: EngineError) -> None:
        """Give the delegate up, for all workers; raise `DelegateError` if nothing may take its place."""
        with self.lock:
            self.reason = self.reason or f"delegate {self.requested} cannot be used any more: {error}"
        if self.on_cpu is None:
            raise DelegateError(self.reason) from error


class WatchedEngine:
    """An engine on a delegate, until it fails; then one on the CPU. See `AnyEngine` for its attributes.

    `unchecked` is the number of its answers since it last proved itself; 0 on the CPU.
    """

    def __init__(self, engine: AnyEngine, watch: Watch) -> None:
        self.watch = watch
        self._take(engine)
        self._is_delegate, self._is_due, self.unchecked = True, False, 0

    def run(self, tensor: Array) -> Array:
        """Return the output tensor for one input tensor; see `AnyEngine`.

        Raises:
            DelegateError: the delegate fails, and nothing may take its place.
            EngineError: the CPU fails.
        """
        if self.watch.reason is None:
            try:
                answer = self._engine.run(tensor)
                if answer.dtype.kind == "f" and not np.isfinite(answer).all():
                    raise DelegateError(NOT_FINITE)
                self.unchecked += 1
                if self.unchecked >= CHECK_EVERY or self._is_due:
                    self.watch.expectation.check(self._engine)
                    self.unchecked, self._is_due = 0, False
                return answer
            except EngineError as error:
                self.watch.fail(error)
        return self._on_cpu().run(tensor)

    def check(self) -> None:
        """Let the delegate prove itself now, if it has answered since it last did; see `run` for errors."""
        try:
            if self.watch.reason is None and self.unchecked:
                self.watch.expectation.check(self._engine)
        except EngineError as error:
            self.watch.fail(error)
        finally:
            self.unchecked = 0

    def check_with_next(self) -> None:
        """Let the delegate prove itself before its next answer is returned."""
        self._is_due = True

    def _on_cpu(self) -> AnyEngine:
        if self._is_delegate:
            if self.watch.on_cpu is None:
                raise DelegateError(self.watch.reason)
            with self.watch.lock:  # what is silenced meanwhile, warnings and stderr, is of the whole process
                self._take(self.watch.on_cpu())
            self._is_delegate, self.unchecked = False, 0
        return self._engine

    def _take(self, engine: AnyEngine) -> None:
        self._engine = engine
        self.choice, self.placement, self.device = engine.choice, engine.placement, engine.device
        self.remarks = engine.remarks
        self.input, self.input_shape = engine.input, engine.input_shape
        self.output, self.output_shape = engine.output, engine.output_shape


def after_failure(receipt: Receipt, reason: str) -> Receipt:
    """Return the receipt of a classifier that began on a delegate, from when the CPU took over."""
    return replace(
        receipt,
        active=CPU,
        device=CPU,
        library=None,
        delegated=None if receipt.delegated is None else 0,
        partitions=None if receipt.partitions is None else 0,
        probe_difference=None,
        unverified=None,
        trial=None,
        trial_ms=None,
        fallback=reason,
    )
