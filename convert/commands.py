"""What the commands share: one line for an error, and the limits of the gate."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from convert.gate.drift import Limits
from edge_runtime import EdgeError
from edge_runtime.terminal import printable


def one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--debug`, and turn our errors into one line and exit code 1."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(*args: Any, debug: bool, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except BrokenPipeError:  # whoever read our output has gone: click knows what to do
            raise
        except (EdgeError, OSError) as error:
            if debug:
                traceback.print_exc()
            message = printable(" ".join(str(error).split()))
            click.echo(f"{click.get_current_context().find_root().info_name}: error: {message}", err=True)
            sys.exit(1)

    return wrapped


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--max-drop`, `--max-top5-drop` and `--min-agreement`."""
    for option in (
        click.option(
            "--min-agreement",
            type=click.FloatRange(0, 100),
            default=100 * Limits.min_agreement,
            show_default=True,
            metavar="%",
            help="Least top-1 agreement with the float network.",
        ),
        click.option(
            "--max-top5-drop",
            type=click.FloatRange(-100, 100),
            default=Limits.max_top5_drop_pp,
            show_default=True,
            metavar="PP",
            help="Most top-5 accuracy to lose, where there are more than 5 classes.",
        ),
        click.option(
            "--max-drop",
            type=click.FloatRange(-100, 100),
            default=Limits.max_drop_pp,
            show_default=True,
            metavar="PP",
            help="Most top-1 accuracy to lose, in percentage points.",
        ),
    ):
        command = option(command)
    return command


def limits(max_drop: float, min_agreement: float, max_top5_drop: float = Limits.max_top5_drop_pp) -> Limits:
    """The limits as the options give them."""
    return Limits(max_drop, min_agreement / 100, max_top5_drop)
