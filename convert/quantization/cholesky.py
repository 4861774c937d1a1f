"""Cholesky factors of positive definite matrices, and systems solved with them, block by block.

Nearly all of it is products of matrices, which NumPy computes at several times the speed of its own factors and of
SciPy's. Other threads run meanwhile, which SciPy would stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edge_runtime.arrays import Array

BLOCK = 96
"""Columns that are factored at once."""


@dataclass(frozen=True)
class Cholesky:
    """The factor L of a matrix L L^T.

    Attributes:
        lower: L, lower triangular (n, n).
        ends: where its blocks begin and end.
        inverses: of the blocks on its diagonal.
    """

    lower: Array
    ends: list[int]
    inverses: list[Array]

    @classmethod
    def of(cls, matrix: Array) -> Cholesky:
        """Factor a positive definite matrix (n, n) in its own precision; only its lower triangle is read.

        Raises:
            numpy.linalg.LinAlgError: it is not positive definite.
        """
        size = len(matrix)
        lower, ends, inverses = np.zeros_like(matrix, order="C"), [*range(0, size, BLOCK), size], list[Array]()
        for start, end in pairwise(ends):
            panel = matrix[start:, start:end] - lower[start:, :start] @ lower[start:end, :start].T
            lower[start:end, start:end] = np.linalg.cholesky(panel[: end - start])
            inverses.append(np.linalg.inv(lower[start:end, start:end]))
            np.matmul(panel[end - start :], inverses[-1].T, out=lower[end:, start:end])
        return cls(lower, ends, inverses)

    def solve(self, right: Array) -> Array:
        """Return X of L L^T X = `right`, both (n, m)."""
        found = np.array(right, self.lower.dtype, order="C")
        blocks = list(zip(pairwise(self.ends), self.inverses, strict=True))
        for (start, end), inverse in blocks:
            found[start:end] = inverse @ (found[start:end] - self.lower[start:end, :start] @ found[:start])
        for (start, end), inverse in reversed(blocks):
            found[start:end] = inverse.T @ (found[start:end] - self.lower[end:, start:end].T @ found[end:])
        return found
