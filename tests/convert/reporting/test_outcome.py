"""The exit code of several verdicts."""

from __future__ import annotations

import pytest

from convert.reporting.outcome import exit_code
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS, Gate, Limits


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 0),
        ([None], 0),
        ([PASS], 0),
        ([FAIL], 3),
        ([INCONCLUSIVE], 4),
        ([PASS, INCONCLUSIVE], 4),
        ([INCONCLUSIVE, FAIL], 3),
        ([FAIL, PASS, INCONCLUSIVE], 3),
        ([None, INCONCLUSIVE, PASS], 4),
    ],
)
def test_the_worst_verdict_is_the_exit_code(verdicts: list[str | None], code: int) -> None:
    gates = [verdict and Gate(verdict, Limits(), []) for verdict in verdicts]
    assert exit_code(gates) == code  # type: ignore[arg-type]
