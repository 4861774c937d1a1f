"""The options of `irv2-predict --camera`, apart from what obeys them: nobody without a camera has to import that."""

from __future__ import annotations

import argparse

from edge_runtime._cli import positive
from edge_runtime.camera.sources import ACCEPTED


def add_camera_options(parser: argparse.ArgumentParser) -> None:
    """Add what is said of a camera."""
    group = parser.add_argument_group("a camera, in place of images")
    group.add_argument("--camera", metavar="SOURCE", help=f"answer its newest frame until Ctrl-C: {ACCEPTED}")
    group.add_argument("--smooth", type=positive, metavar="N", help="show the mean of the last N answers; default: 1")
    group.add_argument(
        "--on-change",
        type=_command,
        metavar="CMD",
        help="run a program whenever the label changes, with IRV2_LABEL and IRV2_PROBABILITY in its environment",
    )


def camera_option(arguments: argparse.Namespace) -> str | None:
    """Return the first option given that needs --camera."""
    given = {"--smooth": arguments.smooth, "--on-change": arguments.on_change}
    return next((name for name, value in given.items() if value is not None), None)


def _command(text: str) -> list[str]:
    from edge_runtime.camera.on_change import command

    return command(text)
