"""Biases by which outputs have the same mean behind what clips them (empirical bias correction).

Nagel et al. 2019, arXiv:1906.04721, section 4.2, there without the clipping.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.arrays import Array

NEWTON_STEPS = 4
LEAST_INSIDE, LEAST_SLOPE = 0.02, 0.1
"""The fraction of unclipped outputs below which a channel is left alone, and the smallest one that is divided by."""
Limits = tuple[Array, Array]


def equal_means(exact: Array, noisy: Array, exact_limits: Limits, noisy_limits: Limits, shift: Array) -> Array:
    """Return what to add to outputs `noisy` for their mean after clipping to be that of `exact` after clipping.

    Noise before a ReLU raises the mean behind it, so equal means before it are not enough: what pooling averages over
    an image is the error of the mean. By Newton's method; a channel that is almost always clipped keeps `shift`.

    Args:
        exact, noisy: (groups, n, out), of n positions.
        exact_limits, noisy_limits: the smallest and the largest value of each output, (groups, 1, out).
        shift: where to begin, (groups, out).
    """
    wanted = np.clip(exact, *exact_limits).mean(axis=1)
    for _ in range(NEWTON_STEPS):
        moved = noisy + shift[:, np.newaxis].astype(np.float32)
        clipped = np.clip(moved, *noisy_limits)
        inside = np.count_nonzero(clipped == moved, axis=1) / moved.shape[1]
        missing = wanted - clipped.mean(axis=1)
        shift = shift + np.where(inside > LEAST_INSIDE, missing / np.maximum(inside, LEAST_SLOPE), 0)
    return shift
