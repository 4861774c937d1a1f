"""Opens the engines of a model: on the delegate that was asked for if it passes its trial, or else on the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from edge_runtime.artifact import Model
from edge_runtime.delegates import CPU, DelegateRequest
from edge_runtime.engines import AnyEngine, Engine, EngineChoice, Receipt
from edge_runtime.errors import DelegateError, EngineError
from edge_runtime.watched import Watch, WatchedEngine

if TYPE_CHECKING:
    from edge_runtime.delegation import Delegation, Opened


def open_engines(
    model: Model, request: DelegateRequest, choice: EngineChoice, threads: int, workers: int, strict: bool = False
) -> tuple[list[AnyEngine], Receipt]:
    """Open an engine for each worker, on the requested delegate if it can be trusted, or else on the CPU.

    Each engine has `threads` threads. Those on a delegate are `WatchedEngine`s.

    Raises:
        DelegateError: the delegate cannot be used, and `strict` or the model forbids the CPU.
        EngineError: the CPU cannot compute the model either.
    """
    fallback = None
    if request.name != CPU:
        from edge_runtime.delegation import Delegation  # the CPU starts faster without these
        from edge_runtime.trial import try_out

        try:
            delegation = Delegation.find(model, request, choice, threads, workers)
            trial = try_out(delegation)
            opened = delegation.open()
        except EngineError as error:
            fallback = f"delegate {request.text} cannot be used: {error}"
            if strict or model.compiled_operator is not None:
                raise DelegateError(fallback) from error
        else:
            receipt = replace(
                _receipt(request, request.name, opened.engines, threads),
                library=None if delegation.library is None else os.fspath(delegation.library),
                probe_difference=opened.difference,
                unverified=opened.unverified,
                **asdict(trial),
            )
            watch = Watch(request.text, opened.expectation, _replacement(delegation, opened, strict))
            return [WatchedEngine(engine, watch) for engine in opened.engines], receipt

    def on_cpu() -> AnyEngine:
        return Engine(model.path, choice, threads, None, model.input_shape)

    try:
        settled = model.settled(on_cpu)
        engines = [settled.adapted(on_cpu()) for _ in range(workers)]
    except EngineError as error:
        reasons = (fallback, None if str(error) in (fallback or "") else str(error))
        raise EngineError("; and without it ".join(filter(None, reasons))) from error
    return engines, replace(_receipt(request, CPU, engines, threads), fallback=fallback)


def _replacement(delegation: Delegation, opened: Opened, strict: bool) -> Callable[[], AnyEngine] | None:
    """Return what makes an engine on the CPU when the delegate fails later; None if it must not, or cannot."""
    model = opened.expectation.model
    if strict or model.compiled_operator is not None or opened.expectation.missing is not None:
        return None
    return lambda: model.adapted(delegation.on_cpu())


def _receipt(request: DelegateRequest, active: str, engines: list[AnyEngine], threads: int) -> Receipt:
    """Return a receipt that says nothing yet of a library, of a proof, or of why it is not the requested one."""
    engine = engines[0]
    return Receipt(
        requested=request.text,
        active=active,
        engine=engine.choice.name,
        version=engine.choice.version,
        device=engine.device or active,
        library=None,
        threads=threads,
        workers=len(engines),
        **engine.placement._asdict(),
        probe_difference=None,
        fallback=None,
        warning=None if request.kind is None else request.kind.warning,
        remarks=engine.remarks,
    )
