"""The child process of `isolation`: it tells what it does on standard output, a JSON object a line.

{"begin": STAGE} any number of times, and then {"done": RESULT} or {"refused": REASON, "is_artifact": BOOL}
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import signal
import sys
from contextlib import suppress
from typing import Any

from edge_runtime.errors import ArtifactError, EdgeError, first_line

ENDING = "unloading it"
GRACE_SECONDS = 10
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Read a module's name, the time limit and a job from standard input, do it, and end as every process does."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    module, limit = pickle.load(sys.stdin.buffer)
    _limit_harm(limit)

    def tell(**what: Any) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        result = importlib.import_module(module).do(pickle.load(sys.stdin.buffer), lambda stage: tell(begin=stage))
        tell(begin=ENDING)
        tell(done=result)
    except EdgeError as error:
        tell(refused=str(error), is_artifact=isinstance(error, ArtifactError))
    except Exception as error:
        tell(refused=f"{type(error).__name__} {first_line(error)}", is_artifact=False)


def _limit_harm(seconds: float) -> None:
    """End this process with its parent, and in time; leave no core file; be the first to go where memory runs out."""
    with suppress(ImportError, OSError, AttributeError):  # not on Linux
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    if hasattr(signal, "alarm"):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(seconds) + GRACE_SECONDS)
