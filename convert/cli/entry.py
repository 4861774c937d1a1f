"""Console scripts of the host side. They import little, and name the extra to install if a package is missing.

Ctrl-C and SIGTERM become an exception, so that cleanup runs, and then one line and an exit code: by default SIGTERM
ends Python without running any `finally`, and libraries catch KeyboardInterrupt.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from convert.system.allocator import return_freed_memory

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal that asks this process to end; `code` is the exit code that shells use for it: 130 or 143."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


def convert() -> None:
    """Run `irv2-convert`."""
    _run("convert", extra="convert")


def drift() -> None:
    """Run `irv2-drift`."""
    _run("drift", extra="drift")


def inspect() -> None:
    """Run `irv2-inspect` in a process of its own, since it opens files from anywhere; with --bisect it runs them."""
    from convert.cli.sandbox import run_limited

    if "--bisect" in sys.argv[1:]:
        _run("inspect", extra="drift")
        return
    files = sys.argv[1:]

    def load() -> Callable[[], object]:
        run = _load("inspect", extra="drift")
        files.extend(_artifact_of_settings())
        return run

    with _interruptible("irv2-inspect"):
        sys.exit(run_limited("irv2-inspect", load, files))


def _artifact_of_settings() -> list[str]:
    """Return what `irv2-inspect` opens where it is given nothing; a settings file with a mistake is its to refuse."""
    from convert.cli.settings import find_artifact
    from edge_runtime.errors import EdgeError

    with suppress(EdgeError, OSError):
        return [str(artifact)] if (artifact := find_artifact()) is not None else []
    return []


def _run(command: str, extra: str) -> None:
    return_freed_memory()
    with _interruptible(f"irv2-{command}"):
        _load(command, extra)()


def _load(command: str, extra: str) -> Callable[[], object]:
    """Import a command from the module of its name, and return a function that runs it."""
    program = f"irv2-{command}"
    try:
        main = getattr(importlib.import_module(f"convert.cli.{command}"), command)
    except ModuleNotFoundError as error:
        from convert.system.installation import missing_package

        if (text := missing_package(error, extra)) is None:
            raise
        print(f"{program}: error: {text}", file=sys.stderr)
        sys.exit(1)
    from edge_runtime.console import prepare_streams

    prepare_streams()
    return lambda: main(prog_name=program)


@contextmanager
def _interruptible(program: str) -> Iterator[None]:
    """Raise `Interrupted` in the block when a signal comes, and then end the process with one line."""
    for number in SIGNALS:
        signal.signal(number, _raise)
    try:
        yield
    except Interrupted as interrupted:
        for number in SIGNALS:  # a second Ctrl-C during shutdown would print a traceback
            signal.signal(number, signal.SIG_IGN)
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(interrupted.code)


def _raise(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(number)
