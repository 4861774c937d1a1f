"""Pure functions of arrays: how far a candidate is from its reference, and how sure one can be of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Z_95 = 1.959963984540054
"""The two-sided 95 % quantile of the standard normal distribution."""


def centred(logits: Array) -> Array:
    """float64 logits (N, classes) less each row's mean: what a softmax sees of them."""
    wide = np.asarray(logits, np.float64)
    return np.asarray(wide - wide.mean(axis=-1, keepdims=True))


def log_probabilities(probabilities: Array, step: float = 0.0) -> Array:
    """Natural logarithms, float64, of probabilities (N, classes) in steps of `step`; of float32 ones when it is 0.

    What is less than half a step, 0 above all, counts as half a step: more cannot be known of it.
    """
    floor = max(step / 2, float(np.finfo(np.float32).smallest_subnormal))
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, np.float64), floor)))


def sqnr_db(reference: Array, candidate: Array) -> float:
    """Signal to quantization-noise ratio, 10 log10(sum r^2 / sum (r - c)^2), in decibel; inf when equal."""
    reference, candidate = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    noise = float(np.sum((reference - candidate) ** 2))
    signal = float(np.sum(reference**2))
    if noise == 0:
        return float("inf")
    return float("-inf") if signal == 0 else 10 * float(np.log10(signal / noise))


def cosine(reference: Array, candidate: Array) -> Array:
    """Cosine of the angle between the rows of two arrays (N, classes); 1 where both are zero."""
    reference, candidate = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    norms = np.linalg.norm(reference, axis=-1) * np.linalg.norm(candidate, axis=-1)
    dots = np.sum(reference * candidate, axis=-1)
    return np.where(norms > 0, dots / np.where(norms > 0, norms, 1), 1.0)


def kl_divergence(reference: Array, candidate: Array, step: float = 0.0) -> Array:
    """Kullback-Leibler divergence, nats, of each row of two arrays of probabilities (N, classes)."""
    p = np.asarray(reference, np.float64)
    return np.asarray(np.sum(p * (log_probabilities(reference, step) - log_probabilities(candidate, step)), axis=-1))


def agreement_top_k(reference: Array, candidate: Array, k: int) -> Array:
    """For each row whether the reference's first class is among the candidate's first `k`."""
    best = np.argsort(-np.asarray(candidate), axis=-1, kind="stable")[:, :k]
    first = np.argmax(reference, axis=-1)
    return np.asarray(np.any(best == first[:, np.newaxis], axis=-1))


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % score interval of a rate (Wilson 1927, JASA 22:209-212, in the form of Brown, Cai, DasGupta 2001)."""
    rate, z2 = successes / trials, Z_95**2
    middle = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * float(np.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2)))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_drop_interval(lost: int, gained: int, trials: int) -> tuple[float, float]:
    """95 % interval of a drop (lost - gained) / trials of paired answers.

    Adds half an answer to each cell of the two-by-two table before the normal approximation (Agresti and
    Min 2005, "Simple improved confidence intervals for comparing matched proportions", Statistics in
    Medicine 24:729-740), which keeps its level when few answers change.

    Args:
        lost: answers right in the reference and wrong in the candidate.
        gained: the other way round.
        trials: all answers.
    """
    n, b, c = trials + 2, lost + 0.5, gained + 0.5
    drop = (b - c) / n
    half = Z_95 * float(np.sqrt((b + c) - (b - c) ** 2 / n)) / n
    return drop - half, drop + half
