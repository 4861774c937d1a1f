"""Does a job in a child process with limits on time and memory: a crash there is a reason here, and nothing else.

The child is a fresh Python with this process's import path, so that it finds what was found here: in an archive, too.
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
from pathlib import Path
from typing import Any

from edge_runtime.errors import ArtifactError, DelegateError

BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from edge_runtime._isolated import main; main()"
)
LIMIT_VARIABLE = "IRV2_TRIAL_SECONDS"
LIMIT_SECONDS = 180.0
SPARE_BYTES, BYTES_A_BYTE, PART_OF_AVAILABLE = 2**30, 10, 0.9
"""Memory that a child may take: so much, and so much for each byte of the model, if that is available."""

POLL_SECONDS = 0.02


def find_python() -> str | None:
    """Return a Python like this one; None in a frozen program, which would only start itself again.

    Where Python is a part of another program, as in some web servers, `sys.executable` is that program.
    """
    if getattr(sys, "frozen", False):
        return None
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [sys.executable or "", *(os.path.join(sys.exec_prefix, "bin", each) for each in (name, "python3"))]
    return next((path for path in candidates if "python" in os.path.basename(path) and os.path.isfile(path)), None)


def run_isolated(interpreter: str, module: str, job: object, model: Path) -> Any:
    """Return what `do(job, begin)` of a module returns in a child process.

    `do` tells `begin` what it is about to do, as the subject of a sentence about what came of it. It returns what JSON
    can hold.

    Args:
        interpreter: a Python, as `find_python` returns it.
        module: its dotted name.
        job: what can be pickled.
        model: the file whose size decides how much memory is allowed.

    Raises:
        ArtifactError: `do` raised it.
        DelegateError: `do` raised any other error; or the child crashed, or took too long or too much memory.
    """
    line = [interpreter, "-I" if sys.flags.isolated else "-P", "-c", BOOT]
    limit, pipe = limit_seconds(), subprocess.PIPE
    given = pickle.dumps(sys.path) + pickle.dumps((module, limit)) + pickle.dumps(job)
    try:
        process = subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        raise DelegateError(f"the process to try it in does not start: {error.strerror or error}") from error
    told: list[dict[str, Any]] = []
    try:
        reader = threading.Thread(target=_exchange, args=(process, given, told), daemon=True)
        reader.start()
        overrun = _watch(process, reader, limit, _memory_limit(model))
    finally:
        _kill(process)
    found = {key: value for line in told for key, value in line.items()}  # of "begin", the last
    if "refused" in found:
        raise (ArtifactError if found["is_artifact"] else DelegateError)(found["refused"])
    if overrun is not None or process.returncode != 0 or "done" not in found:
        raise DelegateError(f"{found.get('begin', 'its process')} {overrun or _ending(process.returncode)}")
    return found["done"]


def limit_seconds() -> float:
    """Return how long a child may take; raise `DelegateError` if the environment asks for what is no time."""
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        seconds = float(text or LIMIT_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise DelegateError(f"{LIMIT_VARIABLE} is {text!r}: set it to a number of seconds, or leave it out")
    return seconds


def _exchange(process: subprocess.Popen[bytes], given: bytes, told: list[dict[str, Any]]) -> None:
    """Give the child its job, and collect what it tells, a JSON object a line."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError, ValueError):  # it has ended; whoever waits for it says so
        with process.stdin as pipe:
            pipe.write(given)
        with process.stdout as lines:
            for line in lines:
                told.append(json.loads(line))


def _watch(process: subprocess.Popen[bytes], reader: threading.Thread, limit: float, most_bytes: float) -> str | None:
    """Wait for a child; return what it did too much of, as the end of a sentence, or None."""
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


def _memory_limit(model: Path) -> float:
    """Return how many bytes of memory a child may take; no limit where the system does not tell what it takes."""
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
