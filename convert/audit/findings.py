"""Findings: what a check reports of a graph, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from convert.audit.operators import ClassifiedGraph

ERROR, WARNING, NOTE = "error", "warning", "note"
"""The numbers cannot be right; accuracy, speed or portability is lost; worth knowing."""
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Finding:
    """Something to know about a graph.

    Attributes:
        check: stable name of the check that found it.
        severity: "error", "warning" or "note".
        what: for users; begins with a count.
        remedy: what to do about it.
        where: names of all tensors or operators concerned.
    """

    check: str
    severity: str
    what: str
    remedy: str
    where: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """A check that reports the tensors or operators of a graph that have one defect.

    Attributes:
        find: graph -> names of the tensors or operators with the defect.
        name, severity, remedy: of the `Finding`.
        what: as in `Finding`; {} stands for the count.
        noun: what is counted.
    """

    find: Callable[[ClassifiedGraph], Iterable[str]]
    name: str
    severity: str
    what: str
    remedy: str
    noun: str = "tensor"

    def __call__(self, graph: ClassifiedGraph) -> Iterator[Finding]:
        """Yield one finding where the graph has the defect anywhere."""
        where = tuple(self.find(graph))
        if where:
            what = self.what.format(plural(len(where), self.noun))
            yield Finding(self.name, self.severity, what, self.remedy, where)


def plural(count: int, noun: str) -> str:
    """Return "1 operator", "2 operators", ..."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
