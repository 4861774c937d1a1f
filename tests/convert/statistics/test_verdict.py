"""Several artifacts judged on the same images: one that is beyond the limit does not pass for being looked at often."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from convert.statistics.verdict import INTERVALS, PASS, Limits, PairedCounts, judge_counts, level, shared


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_intervals_of_several_looks_are_those_of_a_level_divided_by_them(looks: int) -> None:
    assert level(looks) == pytest.approx(1 - 0.05 / looks)
    wilson = binomtest(970, 1000).proportion_ci(confidence_level=level(looks), method="wilson")
    assert shared(looks).rate(970, 1000) == pytest.approx((wilson.low, wilson.high))
    low, high = shared(looks).drop(20, 8, 1000)
    n, b, c = 1002, 20.5, 8.5  # Agresti and Min 2005
    half = norm.ppf(1 - 0.025 / looks) * np.sqrt((b + c) - (b - c) ** 2 / n) / n
    assert (low, high) == pytest.approx(((b - c) / n - half, (b - c) / n + half))


def test_one_look_is_judged_as_ever() -> None:
    counts = PairedCounts(400, 392)
    assert judge_counts(counts, Limits(), shared(1)) == judge_counts(counts, Limits(), INTERVALS["fixed"])
    assert set(judge_counts(counts, Limits(), shared(1)).to_json()) == {"verdict", "limits", "reasons"}


def test_the_report_says_how_many_looks_there_were() -> None:
    gate = judge_counts(PairedCounts(400, 396), Limits(), shared(5), 5)
    assert (gate.to_json()["looks"], gate.to_json()["level"]) == (5, pytest.approx(0.99))
    assert "99.00% interval for 5 artifacts on the same images" in gate.reasons[0]


def test_no_more_than_two_and_a_half_percent_of_hopeless_searches_pass() -> None:
    """Six artifacts that agree on 95 % of images exactly: each of them is beyond the limit by nothing."""
    agreed = np.random.default_rng(0).binomial(800, 0.95, (4000, 6))
    passes = {
        looks: np.array(
            [judge_counts(PairedCounts(800, n), Limits(), shared(looks), looks).verdict == PASS for n in range(801)]
        )
        for looks in (1, 6)
    }
    assert passes[1][agreed].any(axis=1).mean() > 0.08, "without a correction"
    assert passes[6][agreed].any(axis=1).mean() < 0.025
