"""What was found of each client: a table in `build/clients.md`, and at the end of the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from tests.clients.answers import Predictions


@dataclass(frozen=True)
class Finding:
    """One row.

    Attributes:
        client: package and version.
        artifact: which of ours: its scheme and its ends.
        did: what the client did with it.
        agreement: how often its first answer was ours; empty where it gives none.
        difference: the largest between a probability of its and of ours; empty where it gives none.
    """

    client: str
    artifact: str
    did: str
    agreement: str = ""
    difference: str = ""


FOUND: list[Finding] = []
"""In the order of the tests."""


def compared(client: str, artifact: Path, did: str, answers: Predictions, expected: Predictions) -> Finding:
    """The row of a client whose answers are not quite ours."""
    same = sum(a == b for a, b in zip(answers.first, expected.first, strict=True))
    furthest = np.abs(answers.probabilities - expected.probabilities).max()
    return Finding(client, artifact.name, did, f"{same} of {len(expected.first)}", f"{furthest:.1e}")


def table(found: list[Finding]) -> Iterator[str]:
    """The lines of a Markdown table."""
    names = tuple(field.name for field in fields(Finding))
    rows = [names, tuple("---" for _ in names), *map(astuple, found)]
    return (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
