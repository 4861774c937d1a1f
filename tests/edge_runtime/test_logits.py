"""Logits from probabilities, against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import log_softmax, softmax

from edge_runtime.arrays import Array
from edge_runtime.tensors import centred, log_probabilities

matrices = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(2, 8)), elements=st.floats(-100, 100, width=32)
)


def test_centred_rows_average_zero() -> None:
    assert np.array_equal(centred(np.array([[1, 2, 6], [5, 5, 5]])), [[-2, -1, 3], [0, 0, 0]])


@given(matrices)
def test_centred_logs_of_a_softmax_are_the_centred_logits(logits: Array) -> None:
    """What drift compares does not depend on what a softmax forgets."""
    logits = logits / 4  # far from where the smallest float32 is the floor
    logs = log_probabilities(softmax(np.float64(logits), axis=1))
    assert np.allclose(logs, log_softmax(np.float64(logits), axis=1), atol=1e-9)
    assert np.allclose(centred(logs), centred(logits), atol=1e-9)


def test_a_probability_of_zero_has_a_finite_logarithm() -> None:
    assert log_probabilities(np.zeros((1, 1)))[0, 0] == pytest.approx(-149 * np.log(2))


def test_less_than_half_a_step_cannot_be_known() -> None:
    logs = log_probabilities(np.array([[0.0, 0.001, 0.25]]), step=1 / 256)
    np.testing.assert_allclose(np.exp(logs), [[1 / 512, 1 / 512, 0.25]])


def test_a_floor_may_be_higher_and_never_lowers_half_a_step() -> None:
    row = np.array([0.0, 1e-35, 0.25])
    np.testing.assert_allclose(np.exp(log_probabilities(row, floor=1e-30)), [1e-30, 1e-30, 0.25])
    np.testing.assert_allclose(np.exp(log_probabilities(row, step=0.5, floor=1e-30)), [0.25, 0.25, 0.25])


def test_not_a_number_stays_not_a_number() -> None:
    assert np.isnan(log_probabilities(np.array([np.nan, 0.5]))).tolist() == [True, False]
