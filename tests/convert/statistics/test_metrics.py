"""Metrics against SciPy where it has them, against hand-computed cases, and against what must hold for all arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial import distance
from scipy.special import softmax
from scipy.stats import binom, binomtest, bootstrap, entropy, norm

from convert.statistics import metrics

Array = npt.NDArray[Any]
finite = st.floats(-100, 100, width=32)
matrices = arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(2, 8)), elements=finite)


def test_the_quantile_is_the_normal_distributions() -> None:
    assert pytest.approx(norm.ppf(0.975), rel=1e-15) == metrics.Z_95


def test_sqnr_by_hand() -> None:
    assert metrics.sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 3.5])) == pytest.approx(20.0)
    assert metrics.sqnr_db(np.array([1.0, 0.0]), np.array([0.0, 0.0])) == 0.0


def test_sqnr_at_its_ends() -> None:
    one, zero = np.ones(3), np.zeros(3)
    assert metrics.sqnr_db(one, one) == float("inf")
    assert metrics.sqnr_db(zero, zero) == float("inf")
    assert metrics.sqnr_db(zero, one) == float("-inf")


@given(matrices, st.sampled_from([0.125, 2, 64]))
def test_sqnr_does_not_depend_on_the_unit(reference: Array, unit: float) -> None:
    reference = reference.astype(np.float64)  # in which these units lose no bit of a float32
    candidate = reference + 1
    assert metrics.sqnr_db(reference, candidate) == pytest.approx(metrics.sqnr_db(unit * reference, unit * candidate))


@given(matrices)
def test_sqnr_counts_integers_as_real_numbers(reference: Array) -> None:
    """uint8 differences would wrap around."""
    integers = np.abs(reference).astype(np.uint8)
    wide = integers.astype(np.float64)
    assert metrics.sqnr_db(integers, integers[::-1]) == metrics.sqnr_db(wide, wide[::-1])


@given(matrices)
def test_cosine_is_scipys(reference: Array) -> None:
    candidate = np.roll(reference, 1, axis=1) + 1
    rows = zip(metrics.cosine(reference, candidate), np.float64(reference), np.float64(candidate), strict=True)
    for found, r, c in rows:
        if r.any() and c.any():
            assert found == pytest.approx(1 - distance.cosine(r, c), abs=1e-9)
        else:
            assert found == 1


@given(matrices)
def test_kl_divergence_is_scipys(logits: Array) -> None:
    p, q = softmax(np.float64(logits / 8), axis=1), softmax(np.float64(logits[:, ::-1] / 8), axis=1)
    assert np.allclose(metrics.kl_divergence(p, q), entropy(p, q, axis=1), atol=1e-9)
    assert np.allclose(metrics.kl_divergence(p, p), 0)


def test_kl_divergence_of_a_lost_class_is_large_and_finite() -> None:
    (lost,) = metrics.kl_divergence(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    assert lost == pytest.approx(149 * np.log(2))


def test_agreement_by_hand() -> None:
    reference = np.array([[0.1, 0.9, 0.0], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    candidate = np.array([[0.0, 0.8, 0.2], [0.4, 0.5, 0.1], [0.4, 0.5, 0.1]])
    assert metrics.agreement_top_k(reference, candidate, 1).tolist() == [True, False, False]
    assert metrics.agreement_top_k(reference, candidate, 2).tolist() == [True, True, False]
    assert metrics.agreement_top_k(reference, candidate, 3).tolist() == [True, True, True]


def test_of_equal_probabilities_the_first_class_counts_on_both_sides() -> None:
    tie = np.array([[0.5, 0.5]])
    assert metrics.agreement_top_k(tie, tie, 1).all()
    assert not metrics.agreement_top_k(np.array([[0.4, 0.6]]), tie, 1).any()


@given(matrices, st.integers(1, 8))
def test_agreement_grows_with_k(reference: Array, k: int) -> None:
    candidate = reference[:, ::-1]
    assert not np.any(
        metrics.agreement_top_k(reference, candidate, k) & ~metrics.agreement_top_k(reference, candidate, k + 1)
    )
    assert metrics.agreement_top_k(reference, reference, 1).all()
    assert metrics.agreement_top_k(reference, candidate, reference.shape[1]).all()


@given(st.integers(1, 3000), st.data())
def test_wilson_interval_is_scipys(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    wanted = binomtest(successes, trials).proportion_ci(0.95, "wilson")
    assert metrics.wilson_interval(successes, trials) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_paired_interval_by_hand() -> None:
    """n = 102, b = 10.5, c = 2.5: the drop is 8 / 102, its standard error sqrt(13 - 64 / 102) / 102."""
    low, high = metrics.paired_drop_interval(10, 2, 100)
    assert (low + high) / 2 == pytest.approx(8 / 102)
    assert (high - low) / 2 == pytest.approx(1.96 * 3.5172 / 102, rel=1e-4)


@given(st.integers(0, 50), st.integers(0, 50))
def test_gains_are_negative_drops(lost: int, gained: int) -> None:
    low, high = metrics.paired_drop_interval(lost, gained, 100)
    assert metrics.paired_drop_interval(gained, lost, 100) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("loses", "gains"), [(0.01, 0.01), (0.03, 0.01), (0.10, 0.05)])
def test_paired_interval_covers_the_truth_in_95_of_100_draws(loses: float, gains: float) -> None:
    """Simulated: the nominal level holds where few answers change, which is where it is used."""
    draws = np.random.default_rng(0).multinomial(500, [loses, gains, 1 - loses - gains], 4000)
    intervals = np.array([metrics.paired_drop_interval(int(b), int(c), 500) for b, c, _ in draws])
    covered = np.mean((intervals[:, 0] <= loses - gains) & (loses - gains <= intervals[:, 1]))
    assert 0.935 < covered < 0.985


def test_hits_by_hand() -> None:
    rows = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.4, 0.4, 0.2]])
    truth = np.array([2, 0, 1])
    assert metrics.hits_top_k(rows, truth, 1).tolist() == [False, True, False], "of a tie the first class counts"
    assert metrics.hits_top_k(rows, truth, 2).tolist() == [True, True, True]


def test_margin_by_hand() -> None:
    assert metrics.margin(np.array([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]])) == pytest.approx([0.2, 0.7, 0])
    assert metrics.margin(np.ones((2, 1))).tolist() == [1, 1]


def test_calibration_error_by_hand() -> None:
    """Two answers at 0.9, one right: 0.4 too sure. Two at 0.6, both right: 0.4 too modest. One at 1.0, right."""
    confidence = np.array([0.9, 0.9, 0.6, 0.6, 1.0])
    rows = np.stack([confidence, 1 - confidence], axis=1)
    assert metrics.calibration_error(rows, np.array([0, 1, 0, 0, 0])) == pytest.approx((2 * 0.4 + 2 * 0.4 + 0) / 5)


def test_answers_as_good_as_their_confidence_are_calibrated() -> None:
    random = np.random.default_rng(0)
    rows = random.dirichlet(np.ones(4), 20_000)
    truth = (random.random((20_000, 1)) > rows.cumsum(axis=1)).sum(axis=1)
    assert metrics.calibration_error(rows, truth) < 0.02
    assert metrics.calibration_error(rows, np.roll(truth, 1)) > 0.2


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_twice_the_smaller_binomial_tail(lost: int, gained: int) -> None:
    tail = binom.cdf(min(lost, gained), lost + gained, 0.5)
    assert metrics.mcnemar_p_value(lost, gained) == pytest.approx(min(1, 2 * tail), rel=1e-9)


def test_mcnemar_by_hand() -> None:
    """Five changed, all to the worse: 2 / 2^5."""
    assert metrics.mcnemar_p_value(5, 0) == pytest.approx(1 / 16)
    assert metrics.mcnemar_p_value(0, 0) == 1


@pytest.mark.parametrize(("lost", "gained"), [(30, 10), (3, 8)])
def test_bootstrap_is_scipys(lost: int, gained: int) -> None:
    drops = np.repeat([1, -1, 0], [lost, gained, 500 - lost - gained])
    wanted = bootstrap((drops,), np.mean, method="percentile", rng=np.random.default_rng(3)).confidence_interval
    assert metrics.bootstrap_drop_interval(lost, gained, 500) == pytest.approx((wanted.low, wanted.high), abs=0.0025)


def test_the_same_seed_draws_the_same_interval() -> None:
    assert metrics.bootstrap_drop_interval(9, 4, 300) == metrics.bootstrap_drop_interval(9, 4, 300)
    assert metrics.bootstrap_drop_interval(0, 0, 300) == (0, 0)
