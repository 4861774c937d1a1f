"""Intervals that hold at every image at once, so that a run may be watched and stopped when the verdict is certain.

A gambler bets, image after image, that a mean is larger than m. Where it is not, no strategy makes money, and by
Ville's inequality the capital ever exceeds 1 / a with probability a at most, however often one looks. All m at which
the gambler would have become that rich are excluded; the others are the interval. This is the betting of
Waudby-Smith and Ramdas 2020, "Estimating means of bounded random variables by betting" (arXiv:2010.09686), sections 3
and 4, with constant bets, mixed as in the universal portfolio of Cover and Ordentlich 1996 (IEEE Transactions on
Information Theory 42:348-363): g has the density of Beta(1/2, 1/2), here on a grid.

    capital(m) = mean over g of  product over images of (1 - g + g x / m),   0 < g < 1,  0 <= x <= 1

Each factor has an expectation of at most 1 where the mean of x is at most m, and falls as m grows, so the excluded m
are an interval. The product depends on how often each value of x came, not on when.

Level: the two sides have 2.5 % each. Whatever is looked at and whenever the run stops, the interval ever misses the
truth in 5 % of runs at most, on a given side in 2.5 %. So a candidate beyond one of several limits passes in at most
2.5 % of runs: to pass it must be inside all of them (an intersection-union test, Berger 1982, Technometrics
24:295-300, needs no correction). It is enough to be beyond one limit to fail, so that a candidate inside all k limits
fails in at most k times 2.5 % of runs: 7.5 % for agreement and the drops of top-1 and top-5 together.

Images count as independent draws from what the device will see, in the order of a seeded shuffle. That the folder
itself is finite, and drawn from without replacement, is not made use of: the statement is about the images to come,
not about the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from edge_runtime.arrays import Array

LEVEL = 0.05
"""Most runs in which an interval ever misses the truth."""
WANTED = float(np.log(2 / LEVEL))
"""The logarithm of the capital that excludes a mean, on one side."""
BETS = np.sin(np.pi / 2 * (np.arange(64) + 0.5) / 64) ** 2
"""g of the mixture, equally likely: dense near 0, for means close to m, and near 1, for answers that never change."""
LEAST_BOUND = 1e-12
"""A bound that would be a smaller part of the average is 0."""
RATE_VALUES = (0.0, 1.0)
DROP_VALUES = (0.0, 0.5, 1.0)
"""A gained, unchanged and lost answer, -1, 0 and 1, as numbers within 0..1."""


def log_capital(values: Sequence[float], counts: Array, mean: float) -> Array:
    """Natural logarithm of the capital won by betting that the mean is larger than `mean`.

    Args:
        values: what an image can be worth, within 0..1.
        counts: (..., values): how often each came, in any number of runs.
        mean: the hypothesis, in 0..1; under it, or with a smaller mean, the capital is not expected to grow.

    Returns:
        float64 (...).
    """
    if mean <= 0:
        return np.full(np.shape(counts)[:-1], np.inf)
    logs = np.asarray(counts, np.float64) @ _log_factors(tuple(values), mean)
    peak = logs.max(axis=-1)
    return np.asarray(peak + np.log(np.mean(np.exp(logs - peak[..., np.newaxis]), axis=-1)))


@lru_cache(maxsize=128)
def _log_factors(values: tuple[float, ...], mean: float) -> Array:
    """float64 (values, bets): what each image does to the logarithm of each bet's capital; the limits come again."""
    return np.log1p(BETS * (np.asarray(values)[:, np.newaxis] / mean - 1))


def as_counts(counts: Sequence[float]) -> Array:
    """Counts of one run as `log_capital` takes them."""
    return np.asarray(counts, np.float64)


def rate_interval(successes: float, trials: float) -> tuple[float, float]:
    """The interval of a rate after `successes` of `trials` images; see the top of this file for its level."""
    return _interval(RATE_VALUES, [trials - successes, successes])


def drop_interval(lost: float, gained: float, trials: float) -> tuple[float, float]:
    """The interval of a drop (lost - gained) / trials of paired answers; arguments as of `paired_drop_interval`."""
    low, high = _interval(DROP_VALUES, [gained, trials - lost - gained, lost])
    return 2 * low - 1, 2 * high - 1


def _interval(values: Sequence[float], counts: Sequence[float]) -> tuple[float, float]:
    """By symmetry an upper bound is 1 less the lower bound of 1 - x."""
    return _lower_bound(values, counts), 1 - _lower_bound(values, counts[::-1])


def _lower_bound(values: Sequence[float], counts: Sequence[float]) -> float:
    """The least mean that is not excluded; at the average itself no bet wins anything, below it each wins more."""
    from scipy.optimize import brentq

    found = np.maximum(as_counts(counts), 0)  # scaled ones may be off by a rounding
    average = float(np.average(values, weights=found))

    def surplus(mean: float) -> float:
        return float(log_capital(values, found, mean)) - WANTED

    least = LEAST_BOUND * average
    return float(brentq(surplus, least, average, xtol=1e-12)) if average > 0 and surplus(least) > 0 else 0.0
