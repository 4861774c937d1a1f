"""What `irv2-convert cache` shows."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convert.cache.recall import ago
from convert.cache.store import Cache, Listed
from edge_runtime.console import printable


def print_entries(console: Console, cache: Cache) -> None:
    """A row for each entry, the most recently used one first; then their sum, the bound and the place."""
    entries = cache.entries()
    if entries:
        table = Table("kept", "of", "size", "made", "last used", box=None, pad_edge=False)
        for entry in entries:
            table.add_row(*_row(entry))
        console.print(table)
    total = sum(entry.bytes for entry in entries)
    console.print(
        f"{len(entries)} entries, {total / 1e6:.1f} MB of at most {cache.limit / 1e6:.0f} MB in "
        f"{escape(printable(str(cache.folder)))}",
        highlight=False,
        soft_wrap=True,
    )


def _row(entry: Listed) -> tuple[str, ...]:
    described = entry.description
    kind, of, made = ("damaged", "", "") if described is None else (described.kind, described.of, ago(described.made))
    return kind, escape(printable(of)), f"{entry.bytes / 1e6:.1f} MB", made, ago(entry.used)
