"""Names on the page: where they may break, and which end of a file's name has to stay when there is no room for it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from edge_runtime.console import printable

BREAK_AFTER = re.compile(r"(?<=\w)[_/,:|\\-]+(?=\w)")
"""Punctuation between words. None of it is part of what escaping writes, such as "&amp;"."""
SHORTEST_END, LONGEST_END = 12, 32
"""Characters of a name that are always shown."""


def breakable(name: str) -> Markup:
    """Return a name, escaped, that may break after punctuation between words, too."""
    return Markup(BREAK_AFTER.sub(r"\g<0><wbr>", str(escape(printable(name)))))


def distinguished(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return each name as its beginning, which may be cut, and an end that no other of the names has.

    An end begins with a word where it can, and has `SHORTEST_END` to `LONGEST_END` characters, whether that is enough
    or not.
    """
    readable = [printable(name) for name in names]
    cuts = [_cut(name, [*readable[:index], *readable[index + 1 :]]) for index, name in enumerate(readable)]
    return [(name[:cut], name[cut:]) for name, cut in zip(readable, cuts, strict=True)]


def _cut(name: str, others: Sequence[str]) -> int:
    """Return where the end of a name begins that no other has."""
    sizes = range(SHORTEST_END, LONGEST_END + 1)
    size = next((n for n in sizes if not any(other.endswith(name[-n:]) for other in others)), LONGEST_END)
    latest, earliest = max(0, len(name) - size), max(0, len(name) - LONGEST_END)
    words = [found.end() for found in BREAK_AFTER.finditer(name) if earliest <= found.end() <= latest]
    return words[-1] if words else latest
