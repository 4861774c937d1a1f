"""What the commands share: one line for an error, what is converted, and the limits of the gate."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from convert.images.conventions import CONVENTIONS
from convert.statistics.verdict import Limits
from edge_runtime import EdgeError
from edge_runtime.console import printable

FILE = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)


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


def source_options(default_model: str | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What says which network is converted, and with which images."""
    options = (
        click.option(
            "--model",
            default=default_model,
            show_default=default_model is not None,
            metavar="demo|imagenet|PATH",
            help="The network: the bundled demo, Keras' with its ImageNet weights, or a Keras file.",
        ),
        click.option("--weights", type=FILE, metavar="FILE", help="Weights of the article's network, with --classes."),
        click.option("--classes", type=COUNT, help="Number of classes of --weights."),
        click.option("--labels", type=FILE, metavar="FILE", help="Text file with one label a line."),
        click.option(
            "--input-size",
            type=COUNT,
            metavar="N",
            help="Height and width in pixels, where the network leaves it open.",
        ),
        click.option(
            "--preprocessing",
            metavar="|".join([*CONVENTIONS, "FILE"]),
            help="How images were prepared in training; needed for a model or weights of your own.",
        ),
        click.option("--calibration", type=FILE, metavar="DIR", help="Images to measure activations on."),
        click.option(
            "--validation",
            type=FILE,
            metavar="DIR",
            help="Other images, to measure drift on; class folders give labels.",
        ),
    )

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


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
