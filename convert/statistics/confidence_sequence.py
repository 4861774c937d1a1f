"""Intervals that hold after every image at once, so that a run may be watched and stopped at a certain verdict.

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
itself is finite, and drawn from without replacement, is not used: the statement is about images to come,
not about the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from edge_runtime.arrays import Array

LEVEL = 0.05
"""Largest fraction of runs in which an interval ever misses the truth."""
LOG_THRESHOLD = float(np.log(2 / LEVEL))
"""Logarithm of the capital at which a mean is excluded, on one side."""
BETS = np.sin(np.pi / 2 * (np.arange(64) + 0.5) / 64) ** 2
"""g of the mixture, equally likely: dense near 0, for means close to m, and near 1, for answers that never change."""
LEAST_BOUND = 1e-12
"""A lower bound smaller than this fraction of the average is 0."""
RATE_VALUES = (0.0, 1.0)
DROP_VALUES = (0.0, 0.5, 1.0)
"""A gained, an unchanged and a lost answer: -1, 0 and 1, mapped into 0..1."""


def log_capital(values: Sequence[float], counts: Array | Sequence[float], mean: float) -> Array:
    """Return the natural logarithm, float64 (...), of the capital won by betting that the mean is larger than `mean`.

    Args:
        values: the values that an image can have, within 0..1.
        counts: how often each value came, (..., values) for any number of runs.
        mean: the hypothesis, in 0..1; if the true mean is at most this, the capital is not expected to grow.
    """
    if mean <= 0:
        return np.full(np.shape(counts)[:-1], np.inf)
    logs = np.asarray(counts, np.float64) @ _log_factors(tuple(values), mean)
    peak = logs.max(axis=-1)
    return np.asarray(peak + np.log(np.mean(np.exp(logs - peak[..., np.newaxis]), axis=-1)))


@lru_cache(maxsize=128)
def _log_factors(values: tuple[float, ...], mean: float) -> Array:
    """Return what an image adds to the log capital of each bet, float64 (values, bets); cached, as limits recur."""
    return np.log1p(BETS * (np.asarray(values)[:, np.newaxis] / mean - 1))


def rate_interval(successes: float, trials: float) -> tuple[float, float]:
    """Return the interval of a rate after `successes` of `trials` images; its level is derived above."""
    return _interval(RATE_VALUES, [trials - successes, successes])


def drop_interval(lost: float, gained: float, trials: float) -> tuple[float, float]:
    """Return the interval of a drop (lost - gained) / trials; arguments as in `metrics.paired_drop_interval`."""
    low, high = _interval(DROP_VALUES, [gained, trials - lost - gained, lost])
    return 2 * low - 1, 2 * high - 1


def _interval(values: Sequence[float], counts: Sequence[float]) -> tuple[float, float]:
    """Return lower and upper bound; by symmetry the upper one is 1 minus the lower bound of 1 - x."""
    return _lower_bound(values, counts), 1 - _lower_bound(values, counts[::-1])


def _lower_bound(values: Sequence[float], counts: Sequence[float]) -> float:
    """Return the smallest mean that is not excluded: at the average no bet wins, and below it each wins more."""
    from scipy.optimize import brentq

    clipped = np.maximum(counts, 0)  # scaled counts may be negative by a rounding error
    average = float(np.average(values, weights=clipped))

    def surplus(mean: float) -> float:
        return float(log_capital(values, clipped, mean)) - LOG_THRESHOLD

    least = LEAST_BOUND * average
    return float(brentq(surplus, least, average, xtol=1e-12)) if average > 0 and surplus(least) > 0 else 0.0
