"""Runs a command of the runtime as its user does: in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import edge_runtime

ROOT = Path(edge_runtime.__file__).parents[1]


def command_line(module: str, *arguments: object) -> list[str]:
    """Return the command line `python -m module arguments`."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def environment() -> dict[str, str]:
    """Return this process's environment, made to find the same `edge_runtime`."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def run(module: str, *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run a module and return the finished process, with its output as text."""
    done = subprocess.run(
        command_line(module, *arguments), input=stdin, capture_output=True, env=environment(), timeout=120, check=False
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def predict(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """`irv2-predict arguments`."""
    return run("edge_runtime", *arguments, stdin=stdin)


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Let processes started here heed Ctrl-C, even if the tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
