"""Findings: what a check reports about a graph."""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARNING, NOTE = "error", "warning", "note"
"""The numbers cannot be right; accuracy, speed or portability is lost; worth knowing."""
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Finding:
    """Something to know about a graph.

    Attributes:
        check: stable name of the check that found it.
        what: for users; begins with a count.
        remedy: what to do about it.
        where: names of all tensors or operators concerned.
    """

    check: str
    severity: str
    what: str
    remedy: str
    where: tuple[str, ...]


def plural(count: int, noun: str) -> str:
    """Return "1 operator", "2 operators", ..."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
