"""A delegate found on this machine for a model, and engines on it that have answered the probe.

A delegate is trusted for its answers, not for what it reports: each engine is given the probe, and compared with the
CPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.artifact import Model
from edge_runtime.console import native_stderr_silenced
from edge_runtime.custom_operators import COMPILED, needs_hardware
from edge_runtime.delegates import LIBRARY, DelegateRequest, find_library, library_advice
from edge_runtime.engines import AnyEngine, Engine, EngineChoice
from edge_runtime.errors import DelegateError
from edge_runtime.expectation import Expectation
from edge_runtime.npu import check_options
from edge_runtime.plugin import Plugin

LOADING, ANSWERING = "loading it", "its answer to the probe"
"""What is done with a delegate, in this order, as the subject of a sentence about what came of it."""


@dataclass(frozen=True)
class Opened:
    """Engines, one for each worker, and how they came to be trusted.

    Attributes:
        expectation: what each of them answered.
        difference, unverified: see `Receipt`.
    """

    engines: list[AnyEngine]
    expectation: Expectation
    difference: float | None
    unverified: str | None


@dataclass(frozen=True)
class Delegation:
    """What to run a model on, as it was found; another process can be told it.

    Attributes:
        model, request, choice: what to compute, on what, by which interpreter.
        threads, workers: of each interpreter, and the number of interpreters.
        library: the plugin library; None for an accelerator.
        accelerator: of LiteRT's CompiledModel; None for a plugin library.
    """

    model: Model
    request: DelegateRequest
    choice: EngineChoice
    threads: int
    workers: int
    library: Path | None
    accelerator: str | None

    @classmethod
    def find(
        cls, model: Model, request: DelegateRequest, choice: EngineChoice, threads: int, workers: int
    ) -> Delegation:
        """Find the accelerator or the plugin library that a request means.

        Raises:
            DelegateError: there is none, or the model is compiled for other hardware.
        """
        kind, compiled = request.kind, model.compiled_operator
        if compiled is not None and kind is not None and request.name != COMPILED[compiled].delegate:
            raise DelegateError(f"{model.path} {needs_hardware(compiled, request.name)}")
        accelerator = None if kind is None or kind.variable in os.environ else kind.accelerator
        if accelerator is not None and LIBRARY not in request.options and choice.name == "litert":
            if model.input_shape is not None:
                raise DelegateError(f"{model.path} leaves its input open: export it for one image of one size")
            check_options(request.options)
            return cls(model, request, choice, threads, workers, None, accelerator)
        if kind is not None and not kind.libraries:
            raise DelegateError(f"engine {choice.name} has no {request.name}: {kind.advice}")
        library = find_library(request)
        if not library.exists():
            raise DelegateError(f"{library} cannot be loaded: No such file or directory; {library_advice(kind)}")
        return cls(model, request, choice, threads, workers, library, None)

    def on_cpu(self) -> AnyEngine:
        """Return an engine without the delegate."""
        return Engine(self.model.path, self.choice, self.threads, None, self.model.input_shape)

    def on_delegate(self) -> AnyEngine:
        """Return an engine on the delegate; raise `EngineError` if it cannot be used."""
        if self.accelerator is not None:
            from edge_runtime.compiled import CompiledEngine

            return CompiledEngine(self.model.path, self.choice, self.accelerator, self.request.options)
        assert self.library is not None
        options = {key: value for key, value in self.request.options.items() if key != LIBRARY}
        plugins = {"experimental_delegates": [Plugin(self.library, options)]}
        return Engine(self.model.path, self.choice, self.threads, plugins, self.model.input_shape)

    def open(self, begin: Callable[[str], object] = lambda _: None) -> Opened:
        """Open an engine for each worker, and hold its answer to the probe against what is expected.

        `begin` is told before each of `LOADING` and `ANSWERING`.

        Raises:
            EngineError: the delegate cannot be used; the message says why.
        """
        begin(LOADING)
        expectation = Expectation.of(self.model, self.on_cpu, self.on_delegate)
        engines, differences, unverified = [], [], None
        for _ in range(self.workers):
            with native_stderr_silenced():
                begin(LOADING)
                engine = expectation.model.adapted(self.on_delegate())
                if engine.placement.delegated == 0:
                    raise DelegateError(f"it takes none of the model's {engine.placement.operations} operations")
                begin(ANSWERING)
                difference, unverified = expectation.check(engine)
            engines.append(engine)
            if difference is not None:
                differences.append(difference)
        return Opened(engines, expectation, max(differences, default=None), unverified)
