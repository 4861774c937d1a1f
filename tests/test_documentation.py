"""Every command and every option says what it is for, and is in the README or in the runtime's."""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from convert.cli.convert import convert
from convert.cli.drift import drift
from convert.cli.inspect import inspect
from edge_runtime import benchmark, predict

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "edge_runtime/README.md")
CLICK = {"irv2-convert": convert, "irv2-drift": drift, "irv2-inspect": inspect}
ARGPARSE = {"irv2-predict": predict._parser, "irv2-benchmark": benchmark._parser}
UNNAMED = {"irv2-drift gate": "irv2-drift"}
"""Subcommands that run where none is named, and what they are called by."""

EVERYWHERE = {"--help", "--debug"}
"""Options that all commands have: one mention stands for all of them."""


@dataclass(frozen=True)
class Option:
    """A name on a command line, and its help text."""

    command: str
    name: str
    help: str | None


def options() -> list[Option]:
    """All long options of the five commands."""
    found = [option for name, command in CLICK.items() for option in click_options(name, command)]
    for name, parser in ARGPARSE.items():
        found += [
            Option(name, action.option_strings[-1], action.help)
            for action in parser()._actions
            if action.option_strings and action.help != argparse.SUPPRESS
        ]
    return found


def click_options(name: str, command: click.Command) -> Iterator[Option]:
    """Those of a command and of the commands below it."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield Option(name, parameter.opts[-1], parameter.help)
    for below, subcommand in getattr(command, "commands", {}).items():
        yield from click_options(f"{name} {below}", subcommand)


def commands() -> dict[str, str | None]:
    """Command or subcommand -> its help."""
    found = {name: command.help for name, command in CLICK.items()}
    for name, command in CLICK.items():
        found |= {f"{name} {below}": sub.help for below, sub in getattr(command, "commands", {}).items()}
    return found | {name: parser().description for name, parser in ARGPARSE.items()}


@pytest.fixture(scope="module")
def documented() -> str:
    return "\n".join((ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS)


def test_these_are_the_commands_that_are_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["scripts"]) == {*CLICK, *ARGPARSE}


def test_every_command_has_help() -> None:
    assert [name for name, text in commands().items() if not text] == []


def test_every_command_is_documented(documented: str) -> None:
    assert [name for name in commands() if UNNAMED.get(name, name) not in documented] == []


def test_every_option_has_help() -> None:
    assert [f"{option.command} {option.name}" for option in options() if not option.help] == []


def test_every_option_is_documented(documented: str) -> None:
    missing = [
        f"{option.command} {option.name}"
        for option in options()
        if option.name not in EVERYWHERE and not re.search(rf"{re.escape(option.name)}(?![\w-])", documented)
    ]
    assert missing == [], f"{len(missing)} options are in none of {DOCUMENTS}: {', '.join(missing)}"
