"""Whether there were enough calibration images: what the ranges do as images are added.

They take `ActivationStatistics.extremes`, float32 (images, activations, 2): the smallest and the largest value of
each activation in each image. The width of a range is that of the values seen, and of zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_runtime.arrays import Array

FEWEST = 16
"""Fewer images than these are never enough."""
STILL_GROWING = 0.01
"""Ranges that grew by less than this part, on average, while the images doubled, have converged."""
MOST = 1000
"""`--calibration-size auto` looks at no more images than these."""


def convergence(extremes: Array) -> list[dict[str, float]]:
    """The mean part of their final ranges that activations have after 1, 2, 4, 8, ... and all images."""
    final, total = _widths(extremes), len(extremes)
    counts = [*(2**k for k in range(total.bit_length()) if 2**k < total), total]
    return [
        {"images": count, "range_ratio": round(float(_ratio(_widths(extremes[:count]), final).mean()), 4)}
        for count in counts
    ]


def halves_differ(extremes: Array) -> float | None:
    """How much the ranges of two disjoint halves of the images differ: the mean of |a - b| / larger over activations.

    None for a single image.
    """
    if len(extremes) < 2:
        return None
    one, other = _widths(extremes[::2]), _widths(extremes[1::2])
    return round(float(1 - _ratio(np.minimum(one, other), np.maximum(one, other)).mean()), 4)


def is_enough(of_images: Sequence[Array]) -> bool:
    """Whether ranges have all but stopped growing; looked at again only when the images have doubled.

    Args:
        of_images: for each image so far its (activations, 2).
    """
    count = len(of_images)
    if count < FEWEST or count & (count - 1):
        return False
    extremes = np.stack(of_images)
    grown = _ratio(_widths(extremes[: count // 2]), _widths(extremes))
    return bool(grown.mean() >= 1 - STILL_GROWING)


def never(of_images: Sequence[Array]) -> bool:
    """Not before the last image."""
    return False


def _widths(extremes: Array) -> Array:
    """Of the range of each activation, float64 (activations,)."""
    low, high = extremes[..., 0].min(axis=0), extremes[..., 1].max(axis=0)
    return np.asarray(np.maximum(high, 0).astype(np.float64) - np.minimum(low, 0))


def _ratio(part: Array, whole: Array) -> Array:
    """1 where both are 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 1.0)
