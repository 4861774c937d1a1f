"""The host commands in this process: the installed ones import everything again, a second or two each time."""

from __future__ import annotations

from click.testing import CliRunner

from convert.cli.convert import convert
from convert.cli.drift import drift
from convert.cli.inspect import inspect
from tests.conftest import Finished

COMMANDS = {"irv2-convert": convert, "irv2-drift": drift, "irv2-inspect": inspect}


def run_here(name: str, *arguments: object) -> Finished:
    """Run a command in this process; what it does not handle itself is raised."""
    done = CliRunner().invoke(
        COMMANDS[name],
        [str(argument) for argument in arguments],
        env={"COLUMNS": "160"},
        prog_name=name,
        catch_exceptions=False,
    )
    return Finished(done.exit_code, done.stdout, done.stderr)
