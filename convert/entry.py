"""Console scripts of the host side: they name the extra to install when it is missing, and import nothing before."""

from __future__ import annotations

import importlib
import sys


def convert() -> None:
    """`irv2-convert`."""
    _run("convert.cli", "convert", "irv2-convert", "convert")


def drift() -> None:
    """`irv2-drift`."""
    _run("convert.cli_drift", "drift", "irv2-drift", "drift")


def inspect() -> None:
    """`irv2-inspect`."""
    _run("convert.cli_inspect", "inspect", "irv2-inspect", "drift")


def _run(module: str, command: str, program: str, extra: str) -> None:
    try:
        main = getattr(importlib.import_module(module), command)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] in ("convert", "edge_runtime"):
            raise
        print(f"{program}: error: {error.name} is not installed: pip install 'irv2-edge[{extra}]'", file=sys.stderr)
        sys.exit(1)
    main(prog_name=program)
