"""Run a command in a child process with limits on time and memory, because it reads files from anywhere.

The child is forked while nothing but the standard library is loaded. If the file crashes its reader, or makes it run or
grow without end, the user sees one line and an exit code.
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
"""Memory per byte of the file: copies of it, weights as floats, and objects."""

SPARE_SECONDS = 10
SECONDS_A_MEGABYTE = 1
STOPPED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
"""Signals that people send, which say nothing about the file."""
AWAITED = {signal.SIGTERM, signal.SIGCHLD}


def run_limited(program: str, load: Callable[[], Callable[[], object]], arguments: Sequence[str]) -> int:
    """Run a command in a child process, and return its exit code.

    Args:
        program: its name, for messages.
        load: imports what the command needs, without limits, and returns the function that runs it within them; it may
            add to `arguments` what the command will open beside them.
        arguments: of the command line; the limits grow with the largest file among them.
    """
    sys.stdout.flush()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)  # they wait for `sigwait`, however early they come
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)
        _run_in_child(program, load(), largest_file(arguments))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to both
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if signal.sigwait(AWAITED) == signal.SIGTERM:
            os.kill(child, signal.SIGTERM)
    code = os.waitstatus_to_exitcode(ended[1])
    return code if code >= 0 else _explain(program, signal.Signals(-code))


def limit(file_bytes: int) -> None:
    """Limit this process, from now on, to the time and memory that reading a file of this size may take."""
    address_space = int(STATM.read_text().split()[0]) * resource.getpagesize()  # taken so far; see proc(5)
    _lower(resource.RLIMIT_AS, address_space + SPARE_BYTES + BYTES_A_BYTE * file_bytes)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = SPARE_SECONDS + SECONDS_A_MEGABYTE * file_bytes // 10**6
    _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + seconds)
    _lower(resource.RLIMIT_CORE, 0)


def largest_file(arguments: Sequence[str]) -> int:
    """Return the size in bytes of the largest file among the arguments; 0 if none is a file."""
    return max((os.path.getsize(name) for name in arguments if os.path.isfile(name)), default=0)


def _run_in_child(program: str, run: Callable[[], object], file_bytes: int) -> NoReturn:
    limit(file_bytes)
    try:
        run()
    except MemoryError:
        sys.exit(_complain(program, "needs more memory than such a file should"))
    sys.exit(0)


def _lower(which: int, limit: int) -> None:
    """Set a soft limit, unless there is a stricter one already."""
    soft, hard = resource.getrlimit(which)
    strictest = min(each for each in (soft, hard, limit) if each != resource.RLIM_INFINITY)
    resource.setrlimit(which, (strictest, hard))


def _explain(program: str, killer: signal.Signals) -> int:
    """Return the exit code for a child that a signal ended, after a line about the file if that is to blame."""
    if killer in STOPPED:
        return 128 + killer
    reason = "takes too long to read" if killer == signal.SIGXCPU else f"ended the process that read it ({killer.name})"
    return _complain(program, reason)


def _complain(program: str, what: str) -> int:
    advice = "it is damaged or made to do harm; get it again, from a source you trust"
    print(f"{program}: error: the file {what}: {advice}", file=sys.stderr)
    return 1
