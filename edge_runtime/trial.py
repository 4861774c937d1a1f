"""A delegate is tried in a child process first: what crashes, hangs or grows there does not take this one with it.

The child opens the engines exactly as they are opened here afterwards, lets them answer twice, lets go of them, and
ends. What it passed is remembered, so that the next start does without.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_runtime import _proofs
from edge_runtime.console import native_stderr_silenced
from edge_runtime.delegation import Delegation
from edge_runtime.engines import PASSED, REMEMBERED
from edge_runtime.isolation import find_python, run_isolated

AGAIN, RELEASING = "its second answer", "letting go of it"


@dataclass(frozen=True)
class Trial:
    """How a delegate came to be trusted with this process; see `Receipt` for both attributes."""

    trial: str
    trial_ms: float


def try_out(delegation: Delegation) -> Trial:
    """Try a delegate in a child process, unless it passed before and nothing has changed.

    Raises:
        ArtifactError: the child cannot open the model.
        DelegateError: the delegate cannot be used, or its trial ends in another way than it should.
    """
    start = time.perf_counter()
    key = _proofs.key_of(delegation)
    remembered = _proofs.is_proven(key)
    if not remembered:
        interpreter = find_python()
        if interpreter is None:
            return Trial(f"impossible: there is no Python beside {sys.executable or 'this program'} to do it", 0.0)
        _proofs.keep(key, run_isolated(interpreter, __name__, delegation, delegation.model.path))
    return Trial(REMEMBERED if remembered else PASSED, 1000 * (time.perf_counter() - start))


def do(delegation: Delegation, begin: Callable[[str], object]) -> list[str]:
    """Open engines, let each answer the probe twice, and let go of them; return the libraries that were loaded.

    This is what the child does; `begin` is told each stage.

    Raises:
        EngineError: the delegate cannot be used.
    """
    opened = delegation.open(begin)
    begin(AGAIN)
    with native_stderr_silenced():
        for engine in opened.engines:
            opened.expectation.check(engine)
    libraries = _proofs.loaded_libraries()
    begin(RELEASING)
    with native_stderr_silenced():
        opened.engines.clear()
        del engine, opened
        gc.collect()
    return libraries
