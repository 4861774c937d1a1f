"""Errors as one line and an exit code, for every command."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import click

from convert.errors import MissingExtraError
from edge_runtime import EdgeError
from edge_runtime.console import printable


def one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--debug`, and turn our errors into one line and exit code 1."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(*args: Any, debug: bool, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except BrokenPipeError:  # the reader of our output has gone: click knows what to do
            raise
        except ModuleNotFoundError as error:  # what [drift] has is there, or this had not been imported
            from convert.system.installation import missing_package

            if (text := missing_package(error, "convert")) is None:
                raise
            _end(MissingExtraError(text), debug)
        except (EdgeError, OSError) as error:
            _end(error, debug)

    return wrapped


def _end(error: Exception, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    fail(error)


def fail(error: Exception) -> NoReturn:
    """End the command with an error as one line, and exit code 1."""
    message = printable(" ".join(str(error).split()))
    click.echo(f"{click.get_current_context().find_root().info_name}: error: {message}", err=True)
    sys.exit(1)
