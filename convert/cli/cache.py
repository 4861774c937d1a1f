"""`irv2-convert cache`: what conversions keep for later ones."""

from __future__ import annotations

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.cache.store import FOLDER_VARIABLE, Cache, Listed, ago, limit, place
from convert.cli.errors import one_line_errors
from convert.errors import ConvertError
from convert.reporting.formatting import count, megabytes
from edge_runtime.console import printable


@click.command()
@click.option("--clear", is_flag=True, help="Remove all entries.")
@one_line_errors
def cache(clear: bool) -> None:
    """Show what conversions keep for later ones, with size and age, or remove it."""
    folder = place()
    if folder is None:
        raise ConvertError(f"there is no home folder, so there is no cache: {FOLDER_VARIABLE} names a place for one")
    opened = Cache(folder, limit())
    if clear:
        click.echo(f"removed {opened.clear()} entries of {folder}")
    else:
        print_entries(Console(), opened)


def print_entries(console: Console, cache: Cache) -> None:
    """Print a row for each entry, the most recently used one first; then their total, the bound and the place."""
    entries = cache.entries()
    if entries:
        table = Table("kept", "of", "size", "made", "last used", box=None, pad_edge=False)
        for listed in entries:
            table.add_row(*_row(listed))
        console.print(table)
    console.print(
        f"{count(len(entries))} entries, {megabytes(sum(listed.bytes for listed in entries))} "
        f"of at most {megabytes(cache.limit)} in {escape(printable(str(cache.folder)))}",
        highlight=False,
        soft_wrap=True,
    )


def _row(listed: Listed) -> tuple[str, ...]:
    entry = listed.entry
    kind, of, made = ("damaged", "", "") if entry is None else (entry.kind, entry.of, ago(entry.made))
    return kind, escape(printable(of)), megabytes(listed.bytes), made, ago(listed.used)
