"""Pure functions of arrays and counts: how far a candidate is from its reference, and 95% intervals of it."""

from __future__ import annotations

import numpy as np

from edge_runtime.arrays import Array
from edge_runtime.tensors import log_probabilities

Z_95 = 1.959963984540054
"""Two-sided 95% quantile of the standard normal distribution."""
BOOTSTRAP_RESAMPLES = 10_000
CONFIDENCE_BINS = 15
MAXIMUM_SQNR_DB = 999.0
"""Reported for equal logits, since JSON has no infinity."""


def sqnr_db(reference: Array, candidate: Array) -> float:
    """Return the signal-to-quantization-noise ratio, 10 log10(sum r^2 / sum (r - c)^2), in dB; inf when equal."""
    reference, candidate = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    noise = float(np.sum((reference - candidate) ** 2))
    signal = float(np.sum(reference**2))
    if noise == 0:
        return float("inf")
    return float("-inf") if signal == 0 else 10 * float(np.log10(signal / noise))


def cosine(reference: Array, candidate: Array) -> Array:
    """Return the cosine similarity of the rows of two arrays (N, classes), (N,); 1 where a row is zero."""
    reference, candidate = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    norms = np.linalg.norm(reference, axis=-1) * np.linalg.norm(candidate, axis=-1)
    dots = np.sum(reference * candidate, axis=-1)
    return np.where(norms > 0, dots / np.where(norms > 0, norms, 1), 1.0)


def kl_divergence(reference: Array, candidate: Array, step: float = 0.0) -> Array:
    """Return the Kullback-Leibler divergence in nats of each row of two arrays of probabilities (N, classes)."""
    p = np.asarray(reference, np.float64)
    return np.asarray(np.sum(p * (log_probabilities(reference, step) - log_probabilities(candidate, step)), axis=-1))


def agreement_top_k(reference: Array, candidate: Array, k: int) -> Array:
    """Return for each row (N, classes) whether the reference's first class is in the candidate's top `k`, bool (N,)."""
    return hits_top_k(candidate, np.argmax(reference, axis=-1), k)


def hits_top_k(probabilities: Array, classes: Array, k: int) -> Array:
    """Return for each row (N, classes) whether its true class is in its top `k`, bool (N,).

    `classes` are the indices of the true classes, integers (N,). On a tie the lower index comes first.
    """
    best = np.argsort(-np.asarray(probabilities), axis=-1, kind="stable")[:, :k]
    return np.asarray(np.any(best == np.asarray(classes)[:, np.newaxis], axis=-1))


def margin(probabilities: Array) -> Array:
    """Return how far the first class of each row (N, classes) leads the second, in 0..1; 1 if there is one class."""
    if probabilities.shape[-1] < 2:
        return np.ones(len(probabilities))
    two = np.partition(np.asarray(probabilities, np.float64), -2, axis=-1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def calibration_error(probabilities: Array, classes: Array) -> float:
    """Return the expected calibration error in 0..1: the mean gap between confidence and accuracy.

    Guo et al. 2017, "On calibration of modern neural networks" (arXiv:1706.04599), section 2, equation 3, with their
    15 bins of equal width, (k / 15, (k + 1) / 15], of the first class's probability. Arguments as in `hits_top_k`.
    """
    hits = np.argmax(probabilities, axis=-1) == np.asarray(classes)
    return confidence_gap(np.asarray(probabilities).max(axis=-1), hits)


def confidence_gap(confidence: Array, hits: Array) -> float:
    """Return the calibration error, see above, of answers with a confidence, (N,), of which some are right."""
    confidence = np.asarray(confidence, np.float64)
    bins = np.clip(np.ceil(confidence * CONFIDENCE_BINS).astype(int) - 1, 0, CONFIDENCE_BINS - 1)
    gaps = np.bincount(bins, confidence - hits, CONFIDENCE_BINS)
    return float(np.abs(gaps).sum() / len(hits))


def binomial_tail(successes: int, trials: int, rate: float) -> float:
    """Return how likely it is that at least so many of the trials succeed if each does at this rate."""
    if rate >= 1 or successes <= 0:
        return 1.0
    logarithms = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])  # of factorials
    k = np.arange(successes, trials + 1)
    ways = logarithms[trials] - logarithms[k] - logarithms[trials - k]
    return float(min(1.0, np.exp(ways + k * np.log(rate) + (trials - k) * np.log1p(-rate)).sum()))


def wilson_interval(successes: float, trials: float, z: float = Z_95) -> tuple[float, float]:
    """Return the score interval of a rate (Wilson 1927, JASA 22:209-212, as in Brown, Cai, DasGupta 2001).

    `z` is the two-sided quantile of the standard normal distribution for its level, by default that of 95%.
    """
    rate, z2 = successes / trials, z**2
    middle = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * float(np.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2)))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_drop_interval(lost: float, gained: float, trials: float, z: float = Z_95) -> tuple[float, float]:
    """Return the interval of a drop (lost - gained) / trials of paired answers.

    Adds half an answer to each cell of the two-by-two table before the normal approximation (Agresti and
    Min 2005, "Simple improved confidence intervals for comparing matched proportions", Statistics in
    Medicine 24:729-740), which keeps its level when few answers change.

    Args:
        lost: answers that only the reference gets right.
        gained: answers that only the candidate gets right.
        trials: all answers.
        z: as in `wilson_interval`.
    """
    n, b, c = trials + 2, lost + 0.5, gained + 0.5
    drop = (b - c) / n
    half = z * float(np.sqrt((b + c) - (b - c) ** 2 / n)) / n
    return drop - half, drop + half


def mcnemar_p_value(lost: int, gained: int) -> float:
    """Return the exact two-sided p-value of losing as many answers as gaining (McNemar 1947, Psychometrika 12:153-157).

    Only answers that changed count: under the hypothesis each of the `lost + gained` is a fair coin toss.
    """
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0


def bootstrap_drop_interval(lost: int, gained: int, trials: int) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of a drop (Efron 1979, Annals of Statistics 7:1-26).

    Drawing answers with replacement is drawing the three counts from a multinomial distribution, so that 50,000
    answers cost no more than 50. Where no answer changed, all resamples are equal and the interval has no width:
    `paired_drop_interval` keeps its level there, and is what the gate judges by; arguments as there.
    """
    rates = np.array([lost, gained, trials - lost - gained]) / trials
    draws = np.random.default_rng(0).multinomial(trials, rates, BOOTSTRAP_RESAMPLES)
    low, high = np.percentile((draws[:, 0] - draws[:, 1]) / trials, [2.5, 97.5])
    return float(low), float(high)
