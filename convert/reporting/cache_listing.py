"""The table that `irv2-convert cache` prints."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.cache.recall import ago
from convert.cache.store import Cache, Listed
from convert.reporting.formatting import count, megabytes
from edge_runtime.console import printable


def print_entries(console: Console, cache: Cache) -> None:
    """Print a row for each entry, the most recently used one first, then their total, the limit and the folder."""
    entries = cache.entries()
    if entries:
        table = Table("kept", "of", "size", "made", "last used", box=None, pad_edge=False)
        for entry in entries:
            table.add_row(*_row(entry))
        console.print(table)
    console.print(
        f"{count(len(entries))} entries, {megabytes(sum(entry.bytes for entry in entries))} "
        f"of at most {megabytes(cache.limit)} in {escape(printable(str(cache.folder)))}",
        highlight=False,
        soft_wrap=True,
    )


def _row(entry: Listed) -> tuple[str, ...]:
    described = entry.description
    kind, of, made = ("damaged", "", "") if described is None else (described.kind, described.of, ago(described.made))
    return kind, escape(printable(of)), megabytes(entry.bytes), made, ago(entry.used)
