"""Convergence of the activations' ranges as calibration images are added: were there enough images?

The functions take `ActivationStatistics.extremes`, float32 (images, activations, 2): the smallest and the largest
value of each activation in each image. A range spans the values seen and zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_runtime.arrays import Array

FEWEST = 16
"""Ranges of fewer images have never converged."""
STILL_GROWING = 0.01
"""Ranges have converged if the last doubling of the images widened them by less than this fraction, on average."""
AIM = 0.1
"""`halves_differ` below which more images are not advised."""
SLOWEST, FASTEST = 0.2, 0.5
MOST = 1000
"""The largest number of images that `--calibration-size auto` looks at."""


def convergence(extremes: Array) -> list[dict[str, float]]:
    """Return how wide ranges are after 1, 2, 4, 8, ... and all images, as the mean fraction of their final width."""
    final, total = _widths(extremes), len(extremes)
    counts = [*(2**k for k in range(total.bit_length()) if 2**k < total), total]
    return [
        {"images": count, "range_ratio": round(float(_ratio(_widths(extremes[:count]), final).mean()), 4)}
        for count in counts
    ]


def halves_differ(extremes: Array) -> float | None:
    """Return how much the ranges of two halves of the images differ, mean |a - b| / max(a, b); None for one image."""
    if len(extremes) < 2:
        return None
    one, other = _widths(extremes[::2]), _widths(extremes[1::2])
    return round(float(1 - _ratio(np.minimum(one, other), np.maximum(one, other)).mean()), 4)


def images_for_ranges(extremes: Array) -> int | None:
    """Estimate how many images bring `halves_differ` down to `AIM`; None if it is there, or would take too many.

    How it falls with the number of images is read from half of them and all of them, as a power of that number. The
    power is at most 1/2, as for averages of independent images, and at least 1/5, below which nothing is promised.
    """
    everything, half = halves_differ(extremes), halves_differ(extremes[: len(extremes) // 2])
    if everything is None or half is None or everything <= AIM:
        return None
    power = float(np.clip(np.log2(half / everything), SLOWEST, FASTEST))
    wanted = len(extremes) * (everything / AIM) ** (1 / power)
    rounded = 10 ** (len(str(int(wanted))) - 2)
    return min(MOST, int(np.ceil(wanted / rounded) * rounded)) if len(extremes) < MOST else None


def have_converged(of_images: Sequence[Array]) -> bool:
    """Return whether the ranges of the images so far have converged; False unless their number is a power of two."""
    count = len(of_images)
    if count < FEWEST or count & (count - 1):
        return False
    extremes = np.stack(of_images)
    grown = _ratio(_widths(extremes[: count // 2]), _widths(extremes))
    return bool(grown.mean() >= 1 - STILL_GROWING)


def _widths(extremes: Array) -> Array:
    """Return the width of each activation's range, float64 (activations,)."""
    low, high = extremes[..., 0].min(axis=0), extremes[..., 1].max(axis=0)
    return np.asarray(np.maximum(high, 0).astype(np.float64) - np.minimum(low, 0))


def _ratio(part: Array, whole: Array) -> Array:
    """Return part / whole; 1 where both are 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 1.0)
