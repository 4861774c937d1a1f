"""The anytime-valid intervals: what they exclude, that looking at every image breaks no promise, and that they end."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from convert.statistics import confidence_sequence, metrics

Array = npt.NDArray[Any]
RUNS, IMAGES = 1000, 600


def ever(values: tuple[float, ...], rates: list[float], mean: float) -> int:
    """The number of runs in which a gambler who looks after every image excludes all means up to `mean`."""
    random = np.random.default_rng(5)
    excluded = 0
    for _ in range(RUNS):
        drawn = random.choice(len(values), size=IMAGES, p=rates)
        counts = np.cumsum(drawn[:, np.newaxis] == np.arange(len(values)), axis=0)
        excluded += bool(
            np.any(confidence_sequence.log_capital(values, counts, mean) >= confidence_sequence.LOG_THRESHOLD)
        )
    return excluded


def keeps_its_level(wrong: int) -> bool:
    """Whether so many wrong verdicts in `RUNS` runs can be the 2.5 % that a side is allowed."""
    return bool(binomtest(wrong, RUNS, confidence_sequence.LEVEL / 2, alternative="greater").pvalue > 0.01)


def peeking_with_fixed_intervals(agreement: float) -> int:
    """The same gambler with Wilson's interval, which is made for one look."""
    random = np.random.default_rng(5)
    counts = np.cumsum(random.random((RUNS, IMAGES)) < agreement, axis=1)
    trials = np.arange(1, IMAGES + 1)
    rate, z2 = counts / trials, metrics.Z_95**2
    middle = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = metrics.Z_95 / (1 + z2 / trials) * np.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    return int(np.sum(np.any(middle - half > agreement, axis=1)))


def test_capital_by_hand() -> None:
    """One image that agrees, betting on more than 1/2: the factor is 1 + g, g averages 1/2, and its square 3/8."""
    assert np.exp(confidence_sequence.log_capital((0, 1), np.array([0, 1]), 0.5)) == pytest.approx(1 + 1 / 2)
    assert np.exp(confidence_sequence.log_capital((0, 1), np.array([1, 0]), 0.5)) == pytest.approx(1 - 1 / 2)
    assert np.exp(confidence_sequence.log_capital((0, 1), np.array([1, 1]), 0.5)) == pytest.approx(1 - 3 / 8)
    assert confidence_sequence.log_capital((0, 1), np.array([0, 0]), 0.5) == 0, "nothing bet, nothing won"


@pytest.mark.parametrize("mean", [0.2, 0.5, 0.95])
def test_under_the_hypothesis_the_capital_is_not_expected_to_grow(mean: float) -> None:
    """All sequences of three images, weighted by their probability, hold exactly the capital of the beginning."""
    from scipy.stats import binom

    agreed = np.arange(4)
    capital = np.exp(confidence_sequence.log_capital((0, 1), np.stack([3 - agreed, agreed], axis=1), mean))
    assert np.sum(binom.pmf(agreed, 3, mean) * capital) == pytest.approx(1)
    assert np.sum(binom.pmf(agreed, 3, mean - 0.1) * capital) < 1


@pytest.mark.parametrize("agreement", [0.95, 0.9, 0.99])
def test_a_candidate_on_the_limit_of_agreement_passes_seldom_however_often_one_looks(agreement: float) -> None:
    assert keeps_its_level(ever(confidence_sequence.RATE_VALUES, [1 - agreement, agreement], agreement))


@pytest.mark.parametrize("agreement", [0.95, 0.9, 0.99])
def test_a_candidate_on_the_limit_of_agreement_fails_seldom(agreement: float) -> None:
    assert keeps_its_level(ever(confidence_sequence.RATE_VALUES, [agreement, 1 - agreement], 1 - agreement))


@pytest.mark.parametrize(("lost", "gained"), [(0.02, 0.0), (0.03, 0.01), (0.07, 0.05)])
def test_a_candidate_on_the_limit_of_the_drop_passes_and_fails_seldom(lost: float, gained: float) -> None:
    """A true drop of 2 points. To pass is to exclude drops from there on, which is a bet on the mirrored answers."""
    rates, mean = [gained, 1 - lost - gained, lost], (1 + lost - gained) / 2
    assert keeps_its_level(ever(confidence_sequence.DROP_VALUES, rates[::-1], 1 - mean))
    assert keeps_its_level(ever(confidence_sequence.DROP_VALUES, rates, mean))


def test_an_interval_for_one_look_does_not_survive_many() -> None:
    """Why there is such a thing: the same simulation catches an interval that was not made for it."""
    assert not keeps_its_level(peeking_with_fixed_intervals(0.9))


@given(st.integers(1, 2000), st.data())
def test_the_ends_are_where_the_gambler_is_rich_enough(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = confidence_sequence.rate_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    counts = np.array([trials - successes, successes])
    for mean, rich in ((0.999 * low, True), (1.001 * low, False)):
        if 0 < mean < 1:
            assert (
                confidence_sequence.log_capital(confidence_sequence.RATE_VALUES, counts, mean)
                >= confidence_sequence.LOG_THRESHOLD
            ) == rich


@given(st.integers(0, 40), st.integers(0, 40))
def test_gains_are_negative_drops(lost: int, gained: int) -> None:
    low, high = confidence_sequence.drop_interval(lost, gained, 200)
    assert low <= (lost - gained) / 200 <= high
    assert confidence_sequence.drop_interval(gained, lost, 200) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(980, 1000), (950, 1000), (9800, 10_000), (49_000, 50_000)])
def test_certainty_at_any_time_costs_less_than_twice_the_width(successes: int, trials: int) -> None:
    fixed, anytime = metrics.wilson_interval(successes, trials), confidence_sequence.rate_interval(successes, trials)
    assert anytime[0] < fixed[0] < fixed[1] < anytime[1]
    assert anytime[1] - anytime[0] < 2 * (fixed[1] - fixed[0])


def test_answers_that_are_all_alike_leave_one_end_closed() -> None:
    assert confidence_sequence.rate_interval(0, 1000) == (
        0,
        pytest.approx(1 - confidence_sequence.rate_interval(1000, 1000)[0]),
    )
    assert confidence_sequence.rate_interval(1000, 1000)[1] == 1
    assert confidence_sequence.rate_interval(1000, 1000)[0] > 0.99
    low, high = confidence_sequence.drop_interval(0, 0, 1000)
    assert low == pytest.approx(-high)
    assert 0 < high < 0.01


def test_a_little_of_one_image_excludes_nothing() -> None:
    """Scaled counts are no whole numbers, and may be off by a rounding."""
    assert confidence_sequence.rate_interval(1e-13, 52)[0] == 0
    assert confidence_sequence.rate_interval(52 + 1e-13, 52)[1] == 1
