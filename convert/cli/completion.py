"""`irv2-convert completion`: what a shell has to evaluate to complete all commands."""

from __future__ import annotations

from collections.abc import Iterator

import click
from click.shell_completion import get_completion_class

from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import DONE, exit_codes
from convert.devices.benchmark import device_parser
from convert.errors import MissingExtraError
from convert.system.installation import not_installed
from edge_runtime import predict

SHELLS = ("bash", "zsh", "fish")
OF_CLICK = ("irv2-convert", "irv2-drift", "irv2-inspect")
OF_ARGPARSE = (predict._parser, device_parser)


@click.command(epilog=exit_codes(DONE))
@click.argument("shell", type=click.Choice(SHELLS))
@one_line_errors
def completion(shell: str) -> None:
    """Print what SHELL has to evaluate, so that Tab completes all commands and their options."""
    click.echo("\n".join([*_asking(shell), *_listing(shell)]))


def _asking(shell: str) -> Iterator[str]:
    """Yield scripts that ask the command at each Tab, which knows its own options."""
    kind = get_completion_class(shell)
    assert kind is not None
    for name in OF_CLICK:
        yield kind(click.Command(name), {}, name, f"_{name.replace('-', '_').upper()}_COMPLETE").source()


def _listing(shell: str) -> Iterator[str]:
    """Yield scripts in which the options are listed: a device's commands answer no shell."""
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise MissingExtraError(not_installed("shtab", "completion")) from error
    for parser in (make() for make in OF_ARGPARSE):
        yield shtab.complete(parser, shell, root_prefix=parser.prog.replace("-", "_"))
