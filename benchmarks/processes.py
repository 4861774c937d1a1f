"""Time and peak memory of a command with all its children, from outside, on Linux.

Memory is the proportional set size (PSS): a page that several processes share counts once, in parts.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

PROC = Path("/proc")
INTERVAL_S, SHARE = 0.05, 0.05
"""A look at the memory of a process takes milliseconds and holds it up: time between two, and part of all time."""
CLOSE_INTERVAL_S, CLOSE_SHARE = 0.002, 0.8
NEVER_S = 1e6


@dataclass(frozen=True)
class Usage:
    """What a finished command took: exit code, wall-clock seconds from its start to its end, the largest sum of the PSS
    of all its processes in bytes, and what it printed."""

    code: int
    seconds: float
    peak_bytes: int
    out: str
    err: str


def measure(
    command: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    interval_s: float = INTERVAL_S,
    share: float = SHARE,
    timeout_s: float = 7200,
) -> Usage:
    """Run a command to its end.

    Args:
        command: program and arguments.
        environment: variables beyond our own.
        interval_s: at least so long between two looks at its memory.
        share: at most this part of the time of a core for looking; where a look takes long, the next is later.
        timeout_s: after which the command and all its children are killed.

    Raises:
        subprocess.TimeoutExpired: it did not end in time.
    """
    start = time.perf_counter()
    with (
        subprocess.Popen(
            [os.fspath(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        ) as process,
        PeakWatch(process.pid, interval_s, share) as watch,
    ):
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            os.killpg(process.pid, 9)
            raise
        seconds = time.perf_counter() - start
    return Usage(process.returncode, seconds, watch.peak_bytes, out, err)


def measure_apart(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Usage:
    """Time and memory of two runs, for commands of a second: one that nobody looks at, and one looked at all the time.

    Args:
        command, environment: as of `measure`.
    """
    timed = measure(command, environment, NEVER_S)
    return replace(timed, peak_bytes=measure(command, environment, CLOSE_INTERVAL_S, CLOSE_SHARE).peak_bytes)


class PeakWatch:
    """Looks at the memory of a process tree again and again, in a thread, from `with` to its end."""

    def __init__(self, root: int, interval_s: float, share: float) -> None:
        self.peak_bytes = 0
        self._root, self._interval_s, self._share = root, interval_s, share
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="peak-watch", daemon=True)

    def __enter__(self) -> PeakWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            start = time.thread_time()  # not the clock: on a busy machine, waiting is no work
            self.peak_bytes = max(self.peak_bytes, sum(map(pss_bytes, tree(self._root))))
            pause = max(self._interval_s, (time.thread_time() - start) / self._share)


def tree(root: int) -> set[int]:
    """Ids of a process, its descendants, and all of the session that it leads, orphans too."""
    family = {pid: lineage for pid in _pids() if (lineage := _lineage(pid)) is not None}
    found = {pid for pid, (_, session) in family.items() if root in (pid, session)}
    while more := {pid for pid, (parent, _) in family.items() if parent in found} - found:
        found |= more
    return found


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process in bytes; 0 when it has ended."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir(PROC) if entry.isdigit()]


def _lineage(pid: int) -> tuple[int, int] | None:
    """Parent and session of a process; None when it has ended. Its name, in brackets, may hold anything."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), int(fields[3])
