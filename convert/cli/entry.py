"""Console scripts of the host side. They import little, and name the extra to install if a package is missing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

from convert.cli.interrupts import interruptible


def convert() -> None:
    """Run `irv2-convert`."""
    _run("convert.cli.convert", "convert", "irv2-convert", "convert")


def drift() -> None:
    """Run `irv2-drift`."""
    _run("convert.cli.drift", "drift", "irv2-drift", "drift")


def inspect() -> None:
    """Run `irv2-inspect` in a process of its own, since it opens files from anywhere."""
    from convert.cli.sandbox import run_limited

    program = "irv2-inspect"
    with interruptible(program):
        sys.exit(run_limited(program, lambda: _load("convert.cli.inspect", "inspect", program, "drift"), sys.argv[1:]))


def _run(module: str, command: str, program: str, extra: str) -> None:
    with interruptible(program):
        _load(module, command, program, extra)()


def _load(module: str, command: str, program: str, extra: str) -> Callable[[], object]:
    """Import a command, and return a function that runs it."""
    try:
        main = getattr(importlib.import_module(module), command)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] in ("convert", "edge_runtime"):
            raise
        print(f"{program}: error: {error.name} is not installed: pip install 'irv2-edge[{extra}]'", file=sys.stderr)
        sys.exit(1)
    from edge_runtime.console import prepare_streams

    prepare_streams()
    return lambda: main(prog_name=program)
