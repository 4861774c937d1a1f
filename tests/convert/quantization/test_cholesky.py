"""The factor of a matrix and the solution of a system are those of NumPy, whatever the size."""

from __future__ import annotations

import numpy as np
import pytest

from convert.quantization.cholesky import BLOCK, Cholesky
from convert.quantization.gptq import feedback_of
from edge_runtime.arrays import Array

SIZES = [1, 5, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 37]


def positive_definite(size: int, damping: float = 0.1) -> Array:
    rows = np.random.default_rng(size).normal(0.5, 1, (2 * size, size))
    return np.asarray(rows.T @ rows / len(rows) + damping * np.eye(size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-4)])
def test_factor_and_solution_are_numpy_s(size: int, dtype: type[np.floating], tolerance: float) -> None:
    matrix = positive_definite(size)
    right = np.random.default_rng(1).normal(size=(size, 7))
    factor = Cholesky.of(matrix.astype(dtype))
    assert factor.lower.dtype == dtype
    assert np.allclose(factor.lower, np.linalg.cholesky(matrix), atol=tolerance)
    solved = factor.solve(right.astype(dtype))
    assert solved.dtype == dtype
    assert np.allclose(solved, np.linalg.solve(matrix, right), atol=tolerance)


def test_only_the_lower_triangle_is_read() -> None:
    matrix = positive_definite(BLOCK + 10)
    assert np.array_equal(Cholesky.of(np.tril(matrix)).lower, Cholesky.of(matrix).lower)


def test_what_is_not_positive_definite_is_refused() -> None:
    matrix = positive_definite(BLOCK + 10)
    matrix[-1, -1] = -1
    with pytest.raises(np.linalg.LinAlgError):
        Cholesky.of(matrix)


def test_feedback_of_inputs_that_are_nearly_the_same_loses_no_digit() -> None:
    """The smallest eigenvalue is a ten-millionth of the largest."""
    size = BLOCK + 10
    matrix = np.ones((size, size)) + 1e-5 * np.eye(size)
    upper = np.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1]
    assert np.allclose(feedback_of(matrix.astype(np.float32)), (upper / np.diag(upper)).T, atol=1e-2)
    assert np.allclose(feedback_of(matrix), (upper / np.diag(upper)).T, atol=1e-6)
