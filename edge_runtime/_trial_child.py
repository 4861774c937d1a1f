"""The child process in which `trial` tries a delegate: it tells what it is about to do, a JSON object a line.

{"begin": "loading it"}, ...   {"refused": REASON, "is_artifact": BOOL}   {"passed": [PATH, ...]}
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from edge_runtime._proofs import loaded_libraries
from edge_runtime.console import native_stderr_silenced
from edge_runtime.delegation import Delegation
from edge_runtime.errors import ArtifactError, EdgeError, first_line

AGAIN, RELEASING, ENDING = "its second answer", "letting go of it", "unloading it"
GRACE_SECONDS = 10


def main() -> None:
    """Read the time limit and the `Delegation` from standard input, try it, and end as every process does."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    limit, delegation = pickle.load(sys.stdin.buffer)
    _limit_harm(limit)

    def tell(**what: Any) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        libraries = try_delegate(delegation, lambda stage: tell(begin=stage))
        tell(begin=ENDING)
        tell(passed=libraries)
    except EdgeError as error:
        tell(refused=str(error), is_artifact=isinstance(error, ArtifactError))
    except Exception as error:
        tell(refused=f"{type(error).__name__} {first_line(error)}", is_artifact=False)


def try_delegate(delegation: Delegation, begin: Callable[[str], object]) -> list[str]:
    """Open engines, let each answer the probe twice, and let go of them; return the libraries that were loaded.

    Raises:
        EngineError: the delegate cannot be used.
    """
    opened = delegation.open(begin)
    begin(AGAIN)
    with native_stderr_silenced():
        for engine in opened.engines:
            opened.expectation.check(engine)
    libraries = loaded_libraries()
    begin(RELEASING)
    with native_stderr_silenced():
        opened.engines.clear()
        del engine, opened
        gc.collect()
    return libraries


def _limit_harm(seconds: float) -> None:
    """End this process if its parent cannot, leave no core file, and be the first to go where memory runs out."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    if hasattr(signal, "alarm"):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(seconds) + GRACE_SECONDS)
