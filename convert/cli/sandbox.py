"""Runs a command in a process of its own, under limits, because it reads files from anywhere.

Forked while nothing but the standard library is loaded; should the file kill its reader, or make it run or grow without
end, what is left is one line and an exit code.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

STATM = Path("/proc/self/statm")
SPARE_BYTES = 2**30
BYTES_A_BYTE = 8
"""Memory to read a file with: copies of it, weights as floats, and objects."""

SPARE_SECONDS = 10
SECONDS_A_MEGABYTE = 1
ERROR = 1
STOPPED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
"""Signals that somebody sends, and that say nothing about the file."""


def run_limited(program: str, load: Callable[[], Callable[[], object]], arguments: Sequence[str]) -> int:
    """Exit code of a command that ran in a child process.

    Args:
        program: its name, for messages.
        load: imports what it needs, unlimited, and returns what runs it, limited.
        arguments: of the command line; limits grow with the largest file among them.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _run_here(program, load(), largest_file(arguments))
    return _explained(program, _wait(child))


def limit(file_bytes: int) -> None:
    """Limit this process, from now on, to the time and memory that a file of so many bytes may take to be read."""
    _lower(resource.RLIMIT_AS, _address_space() + SPARE_BYTES + BYTES_A_BYTE * file_bytes)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = SPARE_SECONDS + SECONDS_A_MEGABYTE * file_bytes // 10**6
    _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + seconds)
    _lower(resource.RLIMIT_CORE, 0)


def largest_file(arguments: Sequence[str]) -> int:
    """Bytes of the largest file among the arguments; 0 where none is one."""
    return max((os.path.getsize(name) for name in arguments if os.path.isfile(name)), default=0)


def _run_here(program: str, run: Callable[[], object], file_bytes: int) -> NoReturn:
    limit(file_bytes)
    try:
        run()
    except MemoryError:
        sys.exit(_complain(program, "needs more memory than such a file should"))
    sys.exit(0)


def _lower(which: int, wanted: int) -> None:
    """Set a soft limit, unless there is a stricter one already."""
    soft, hard = resource.getrlimit(which)
    strictest = min(limit for limit in (soft, hard, wanted) if limit != resource.RLIM_INFINITY)
    resource.setrlimit(which, (strictest, hard))


def _address_space() -> int:
    """Bytes of address space that this process has taken; see proc(5)."""
    return int(STATM.read_text().split()[0]) * resource.getpagesize()


def _wait(child: int) -> int:
    """The child's exit code, or minus the signal that killed it; a signal to stop is for the child to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to both
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _explained(program: str, code: int) -> int:
    """The exit code for a user, after a line about the file if it ended the child."""
    if code >= 0:
        return code
    killer = signal.Signals(-code)
    if killer in STOPPED:
        return 128 + killer
    reason = "takes too long to read" if killer == signal.SIGXCPU else f"ended the process that read it ({killer.name})"
    return _complain(program, reason)


def _complain(program: str, what: str) -> int:
    advice = "it is damaged or made to do harm; get it again, from a source you trust"
    print(f"{program}: error: the file {what}: {advice}", file=sys.stderr)
    return ERROR
