"""`irv2-convert cache`: what conversions keep for later ones."""

from __future__ import annotations

import click
from rich.markup import escape
from rich.table import Table

from convert.cache.store import Cache, ago, limit, place
from convert.cli.console import standard_output
from convert.cli.errors import one_line_errors
from convert.cli.exit_codes import DONE, exit_codes
from convert.reporting.formatting import count, megabytes
from edge_runtime.console import printable


@click.command(epilog=exit_codes(DONE))
@click.option("--clear", is_flag=True, help="Remove all entries.")
@one_line_errors
def cache(clear: bool) -> None:
    """Show what conversions keep for later ones, with size and age, or remove it."""
    opened = Cache(place(), limit())
    if clear:
        click.echo(f"removed {opened.clear()} entries of {opened.folder}")
        return
    console, entries = standard_output(), opened.entries()
    if entries:
        table = Table("kept", "of", "size", "made", "last used", box=None, pad_edge=False)
        for entry in entries:
            size, made, used = megabytes(entry.bytes), ago(entry.made), ago(entry.used)
            table.add_row(escape(printable(entry.kind)), escape(printable(entry.of)), size, made, used)
        console.print(table)
    console.print(
        f"{count(len(entries))} entries, {megabytes(sum(entry.bytes for entry in entries))} "
        f"of at most {megabytes(opened.limit)} in {escape(printable(str(opened.folder)))}",
        highlight=False,
        soft_wrap=True,
    )
