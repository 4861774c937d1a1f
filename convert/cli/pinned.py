"""`--sha256` of the host's commands: a file that is not the pinned one is refused before it is opened."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import click

from convert.errors import SourceError


class Source(Protocol):
    """What `ModelSource` has: the user's file, None where there is none, and the hash of it and of those beside it."""

    @property
    def file(self) -> Path | None:
        """Return the file."""

    def sha256(self) -> str | None:
        """Return the hash."""


class Sha256(click.ParamType["str"]):
    """64 hexadecimal digits."""

    name = "sha256"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the digits in lower case."""
        if not re.fullmatch("[0-9a-fA-F]{64}", str(value)):
            self.fail(f"{value!r} is not a SHA-256 of 64 hexadecimal digits", param, ctx)
        return str(value).lower()


def pinned(argument: str, option: str = "--sha256") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option with the SHA-256 of what a command opens as `argument`; any other file is refused unopened.

    The argument is a path or a `Source`; of a folder, or of several files, the hash is that of `source` in cards.
    """
    name = option.removeprefix("--").replace("-", "_")

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(option, name, type=Sha256(), metavar="HEX", help=f"Refuse any {argument} with another SHA-256.")
        @functools.wraps(command)
        def wrapped(*args: Any, **options: Any) -> Any:
            expected = options.pop(name)
            if expected is not None:
                _refuse_other(options[argument], expected, option)
            return command(*args, **options)

        return wrapped

    return add


def _refuse_other(opened: Path | Source | None, expected: str, option: str) -> None:
    from convert.system.content import content_sha256  # hashes folders, too; irv2-inspect loads it only if asked

    path = opened if opened is None or isinstance(opened, Path) else opened.file
    if opened is None or path is None:
        raise click.UsageError(f"{option} pins a file, and none is given: pass one")
    if not path.exists():
        raise SourceError(f"{path} does not exist: pass the path of the file that {option} pins")
    found = content_sha256(opened) if isinstance(opened, Path) else opened.sha256()
    if found != expected:
        raise SourceError(f"{path} has SHA-256 {found}, expected {expected}: this is not the file you pinned")
