"""A delegate is tried in a child process first: what crashes, hangs or grows there does not take this one with it.

The child opens the engines exactly as they are opened here afterwards, lets them answer twice, lets go of them, and
ends. What it passed is remembered, so that the next start does without.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime import _proofs
from edge_runtime.delegation import Delegation
from edge_runtime.errors import ArtifactError, DelegateError

BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from edge_runtime._trial_child import main; main()"
)
PASSED, REMEMBERED = "passed", "remembered"
LIMIT_VARIABLE = "IRV2_TRIAL_SECONDS"
LIMIT_SECONDS = 180.0
SPARE_BYTES, BYTES_A_BYTE, PART_OF_AVAILABLE = 2**30, 10, 0.9
"""Memory that a delegate may take: so much, and so much for each byte of the model, if that is available."""

POLL_SECONDS = 0.02


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
        _proofs.keep(key, _run_child(interpreter, delegation))
    return Trial(REMEMBERED if remembered else PASSED, 1000 * (time.perf_counter() - start))


def find_python() -> str | None:
    """Return a Python like this one; None in a frozen program, which would only start itself again.

    Where Python is a part of another program, as in some web servers, `sys.executable` is that program.
    """
    if getattr(sys, "frozen", False):
        return None
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [sys.executable or "", *(os.path.join(sys.exec_prefix, "bin", each) for each in (name, "python3"))]
    return next((path for path in candidates if "python" in os.path.basename(path) and os.path.isfile(path)), None)


def _run_child(interpreter: str, delegation: Delegation) -> list[str]:
    """Return the libraries that the child had loaded when the delegate passed; see `try_out` for errors."""
    line = [interpreter, "-I" if sys.flags.isolated else "-P", "-c", BOOT]
    job = pickle.dumps(sys.path) + pickle.dumps((limit_seconds(), delegation))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        process = subprocess.Popen(line, start_new_session=True, **pipes)  # type: ignore[call-overload]
    except OSError as error:
        raise DelegateError(f"the process to try it in does not start: {error.strerror or error}") from error
    told: list[dict[str, Any]] = []
    try:
        reader = threading.Thread(target=_exchange, args=(process, job, told), daemon=True)
        reader.start()
        overrun = _watch(process, reader, _memory_limit(delegation.model.path))
    finally:
        _kill(process)
    stage = next((each["begin"] for each in reversed(told) if "begin" in each), "starting Python")
    refused = next((each for each in told if "refused" in each), None)
    if refused is not None:
        raise (ArtifactError if refused["is_artifact"] else DelegateError)(refused["refused"])
    passed = next((each["passed"] for each in told if "passed" in each), None)
    if overrun is not None or process.returncode != 0 or passed is None:
        raise DelegateError(f"{stage} {overrun or _ending(process.returncode)}")
    return list(passed)


def _exchange(process: subprocess.Popen[bytes], job: bytes, told: list[dict[str, Any]]) -> None:
    """Give the child its job, and collect what it tells, a JSON object a line."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError, ValueError):  # it has ended; whoever waits for it says so
        with process.stdin as given:
            given.write(job)
        with process.stdout as lines:
            told.extend(json.loads(line) for line in lines)


def _watch(process: subprocess.Popen[bytes], reader: threading.Thread, most_bytes: float) -> str | None:
    """Wait for a child; return what it did too much of, as the end of a sentence, or None."""
    limit = limit_seconds()
    deadline = time.monotonic() + limit
    while process.poll() is None:
        if time.monotonic() > deadline:
            return f"takes more than {limit:g} s ({LIMIT_VARIABLE})"
        if _memory_of(process.pid) > most_bytes:
            return f"takes more than {most_bytes / 1e6:.0f} MB of memory"
        reader.join(POLL_SECONDS)
        if not reader.is_alive():
            time.sleep(POLL_SECONDS / 10)
    reader.join(1)  # what it left in the pipe; a process that it started may keep that open
    return None


def limit_seconds() -> float:
    """Return how long a trial may take; raise `DelegateError` if the environment asks for something else."""
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        seconds = float(text or LIMIT_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise DelegateError(f"{LIMIT_VARIABLE} is {text!r}: set it to a number of seconds, or leave it out")
    return seconds


def _memory_limit(model: Path) -> float:
    """Return how many bytes of memory a trial may take; no limit where the system does not tell what it takes."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
        return min(SPARE_BYTES + BYTES_A_BYTE * model.stat().st_size, PART_OF_AVAILABLE * available)
    return float("inf")


def _memory_of(process: int) -> int:
    """Return the memory of a process in bytes, what is swapped out included; 0 if the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("VmRSS:", "VmSwap:")))
    return 0


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a child, if it has not ended, and what it has started."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _ending(code: int | None) -> str:
    """Return how a process ended, as the end of a sentence: by a signal, or with an exit code."""
    if code is None or code >= 0:
        return f"ended the process that tried it (exit code {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"killed the process that tried it ({name})"
