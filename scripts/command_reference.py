"""The command reference as Markdown, from the commands themselves: Click's of the host, argparse's of the device.

python scripts/command_reference.py > commands.md
"""

from __future__ import annotations

import argparse
import contextlib
import html
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout, where it is not installed

import click

from convert.cli.convert import convert
from convert.cli.drift import drift
from convert.cli.inspect import inspect
from convert.devices.benchmark import device_parser
from edge_runtime import predict

CLICK = {"irv2-convert": convert, "irv2-drift": drift, "irv2-inspect": inspect}
ARGPARSE = {"irv2-predict": predict._parser, "irv2-benchmark": device_parser}
LONGEST_METAVAR = 24
INTRODUCTION = """# Command reference

Generated from the commands, so it is what `--help` prints. Every command takes `--help`. Exit codes are in
[Contracts](contracts.md#exit-codes).
"""


@dataclass(frozen=True)
class Option:
    """One option: its names, what it takes (nothing: a flag), and its help."""

    names: tuple[str, ...]
    metavar: str
    help: str


@dataclass(frozen=True)
class Command:
    """One command: how it is called, what it says of itself, and its options."""

    name: str
    usage: str
    text: str
    options: list[Option] = field(default_factory=list)


def commands() -> list[Command]:
    """Every command and subcommand, each once."""
    found = [each for name, command in CLICK.items() for each in of_click(name, command)]
    return found + [of_argparse(parser()) for parser in ARGPARSE.values()]


def of_click(name: str, command: click.Command, parent: click.Context | None = None) -> Iterator[Command]:
    """A Click command, and those below it."""
    context = click.Context(command, info_name=name.rsplit(" ", 1)[-1], parent=parent)
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    texts = [command.help, command.epilog]
    options = [_of_click(each, context) for each in command.params if isinstance(each, click.Option)]
    yield Command(name, usage, "\n\n".join(filter(None, texts)), [each for each in options if each is not None])
    for below, subcommand in getattr(command, "commands", {}).items():
        yield from of_click(f"{name} {below}", subcommand, context)


def _of_click(option: click.Option, context: click.Context) -> Option | None:
    """None for a hidden option."""
    record = option.get_help_record(context)
    if record is None:
        return None
    flag = option.is_flag
    return Option(
        (*option.opts, *option.secondary_opts),
        "" if flag else option.metavar or option.make_metavar(context),
        record[1],
    )


def of_argparse(parser: argparse.ArgumentParser) -> Command:
    """A command of argparse."""
    positional = [_positional(each) for each in parser._actions if not each.option_strings]
    usage = " ".join([parser.prog, "[OPTIONS]", *positional])
    shown = (each for each in parser._actions if each.option_strings and each.help != argparse.SUPPRESS)
    options = [
        Option(tuple(each.option_strings), _metavar(each), parser._get_formatter()._expand_help(each))
        for each in shown
        if each.dest != "help"
    ]
    return Command(parser.prog, usage, "\n\n".join(filter(None, [parser.description, parser.epilog])), options)


def _positional(action: argparse.Action) -> str:
    return f"{action.metavar or action.dest}{'...' if action.nargs == argparse.ONE_OR_MORE else ''}"


def _metavar(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.metavar is None and action.choices is not None:
        return f"[{'|'.join(map(str, action.choices))}]"
    return str(action.metavar or action.dest.upper())


def markdown() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *map(_section, commands())])


def _section(command: Command) -> str:
    text = "\n".join(line.strip() for line in command.text.replace("\b", "").splitlines())
    lines = [f"## {command.name}", "", f"```text\n{command.usage}\n```", "", text, ""]
    if command.options:
        lines += ["| option | |", "|---|---|", *map(_row, command.options), ""]
    return "\n".join(lines)


def _row(option: Option) -> str:
    names, takes, text = ", ".join(f"`{name}`" for name in option.names), option.metavar, option.help
    if len(takes) > LONGEST_METAVAR:  # a list of words, which would not wrap
        text += f" One of {', '.join(f'`{word}`' for word in takes.strip('[]').split('|'))}."
        takes = ""
    what = f" <code>{_cell(takes)}</code>" if takes else ""
    return f"| {names}{what} | {_cell(text)} |"


def _cell(text: str) -> str:
    """Table cells are parted by bars, and what stands in brackets would be a link."""
    text = re.sub(r"\s+\[([^]]*)\]", r" (\1)", text)
    return html.escape(text, quote=False).replace("|", "&#124;").replace("\n", " ")


if __name__ == "__main__":
    with contextlib.redirect_stderr(io.StringIO()):
        page = markdown()
    print(page, end="")
