"""The commands whose name is the first word after `irv2-convert`; each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

import click

SUBCOMMANDS = {
    "attach": "convert.cli.attach:attach",
    "cache": "convert.cli.cache:cache",
    "card": "convert.cli.card:card",
    "compare": "convert.cli.compare:compare",
    "completion": "convert.cli.completion:completion",
    "describe": "convert.cli.describe:describe",
    "init": "convert.cli.init:init",
    "verify": "convert.cli.verify:verify",
}
"""Name -> module and function."""


class Subcommands(Mapping[str, click.Command]):
    """The commands of a table such as `SUBCOMMANDS`, by name: what `click.Group` takes as its commands."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> click.Command:
        module, function = self._places[name].split(":")
        command: click.Command = getattr(import_module(module), function)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
