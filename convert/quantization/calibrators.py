"""Calibrators: the observed values of an activation -> the range that its integers cover.

real = scale * (q - zero_point), scale = (high - low) / levels: a narrow range rounds finely and clips the values
outside, a wide one clips nothing and rounds coarsely. Each calibrator is a pure function that weighs the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edge_runtime.arrays import Array

Range = tuple[float, float]

HALF = 2048
"""Bins on each side of zero."""
SMALLEST_LIMIT = 2.0**-100
LEVELS = 255
"""Steps between the smallest and the largest of 256 integers."""
OUTSIDE = 1e-4
"""The fraction of the values that `percentile` clips on each side."""
FRACTIONS = np.linspace(0.02, 1, 50)
"""The fractions of the true range that `mean_squared_error` tries."""
ENTROPY_STRIDE = 8
"""Bins between two ranges that `entropy` tries."""


@dataclass
class Histogram:
    """Counts of values in equal bins on both sides of zero.

    `limit` is a power of two and doubles when a value reaches it; each pair of bins then becomes one. So the counts do
    not depend on the order of the values.

    Attributes:
        limit: bins cover [-limit, limit).
        counts: int64 (2 * HALF,), from -limit upwards; zero is the lower edge of bin HALF.
    """

    limit: float = SMALLEST_LIMIT
    counts: Array = field(default_factory=lambda: np.zeros(2 * HALF, np.int64))

    @property
    def width(self) -> float:
        """Return the width of a bin."""
        return self.limit / HALF

    @property
    def centres(self) -> Array:
        """Return the middle of each bin, float64 (2 * HALF,)."""
        return (np.arange(-HALF, HALF) + 0.5) * self.width

    def add(self, values: Array, weight: int = 1) -> None:
        """Count finite values of any shape, `weight` times each; double the limit until it exceeds them."""
        largest = max(float(values.max()), -float(values.min()))
        if largest >= self.limit:
            limit = 2.0 ** float(np.frexp(largest)[1])
            bins = np.floor(np.arange(-HALF, HALF) * (self.limit / limit)).astype(int) + HALF
            self.counts = np.bincount(bins, self.counts, 2 * HALF).astype(np.int64)
            self.limit = limit
        bins = np.floor(values.reshape(-1) * np.float32(1 / self.width)).astype(np.int32) + HALF
        self.counts += weight * np.bincount(bins, minlength=2 * HALF)


@dataclass(frozen=True)
class ObservedActivation:
    """What calibrators need to know of the values of a whole activation.

    Attributes:
        minimum, maximum: extremes of all values and of 0, which every range must contain.
        moving: moving averages, over the images, of the smallest and the largest value.
        histogram: of a sample of the values.
        has_pixels: whether an image gives several values of a channel.
    """

    minimum: float
    maximum: float
    moving: Range
    histogram: Histogram
    has_pixels: bool = True


def min_max(observed: ObservedActivation) -> Range:
    """Return the true range, which clips nothing."""
    return observed.minimum, observed.maximum


def moving_average(observed: ObservedActivation) -> Range:
    """Return the range of a typical image, which depends on the order of the images and clips extreme ones."""
    return min(observed.moving[0], 0.0), max(observed.moving[1], 0.0)


def percentile(observed: ObservedActivation) -> Range:
    """Return the range of all values except a fraction of `OUTSIDE` on each side."""
    counts = observed.histogram.counts
    below = np.cumsum(counts)
    outside = OUTSIDE * below[-1]
    first = int(np.searchsorted(below, outside, "right"))
    last = int(np.searchsorted(below, below[-1] - outside, "left"))
    width = observed.histogram.width
    return _within(observed, (first - HALF) * width, (last + 1 - HALF) * width)


def mean_squared_error(observed: ObservedActivation) -> Range:
    """Return the range with the smallest mean squared error of rounding and clipping together.

    Banner et al. 2019, "Post training 4-bit quantization", arXiv:1810.05723, by search instead of a model of the
    distribution: first of the upper end, then of the lower one.
    """
    centres, counts = observed.histogram.centres, observed.histogram.counts
    seen = np.flatnonzero(counts)
    centres, counts = centres[seen], counts[seen]
    highs = FRACTIONS * observed.maximum
    high = min(highs[::-1], key=lambda end: rounding_error(centres, counts, (observed.minimum, end)))
    lows = FRACTIONS * observed.minimum
    low = min(lows[::-1], key=lambda end: rounding_error(centres, counts, (end, high)))
    return float(low), float(high)


def rounding_error(values: Array, counts: Array, ends: Range) -> float:
    """Return the sum of squared errors of values, each with its count, in `LEVELS` steps of a range around 0."""
    scale = (ends[1] - ends[0]) / LEVELS
    if scale <= 0:
        return float(np.sum(counts * values**2))
    zero_point = np.rint(-ends[0] / scale)
    integers = np.clip(np.rint(values / scale) + zero_point, 0, LEVELS)
    return float(np.sum(counts * (values - scale * (integers - zero_point)) ** 2))


def entropy(observed: ObservedActivation) -> Range:
    """Return the range in which rounded values are distributed most like the exact ones.

    By Kullback-Leibler divergence: Migacz 2017, "8-bit inference with TensorRT", GTC; there for magnitudes, as here if
    a tensor has both signs. Bin 0 is left out: after a ReLU it would outweigh all others.
    """
    counts = observed.histogram.counts
    positive, negative = counts[HALF:].astype(float), counts[:HALF][::-1].astype(float)
    signed = observed.minimum < 0 < observed.maximum
    magnitudes = positive + negative
    magnitudes[0] = 0
    levels = (LEVELS + 1) // 2 if signed else LEVELS
    used = int(np.max(np.flatnonzero(magnitudes), initial=0)) + 1
    lengths = range(used, levels, -ENTROPY_STRIDE)
    best = min(lengths, key=lambda length: _divergence(magnitudes, length, levels), default=used)
    end = best * observed.histogram.width
    return _within(observed, -end, end)


def _divergence(counts: Array, length: int, levels: int) -> float:
    """Return the divergence between the first `length` bins, clipped values in the last, and their `levels`."""
    exact = counts[:length].copy()
    level = np.arange(length) * levels // length
    filled = np.bincount(level, exact > 0, levels)
    rounded = np.where(exact > 0, (np.bincount(level, exact, levels) / np.maximum(filled, 1))[level], 0)
    exact[-1] += counts[length:].sum()
    if np.any((exact > 0) & (rounded == 0)):
        return float("inf")
    p, q = exact / exact.sum(), rounded / rounded.sum()
    return float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))


def _within(observed: ObservedActivation, low: float, high: float) -> Range:
    """Return the range, extended to zero and cut to the values observed."""
    return min(max(low, observed.minimum), 0.0), max(min(high, observed.maximum), 0.0)


CALIBRATORS: dict[str, Callable[[ObservedActivation], Range]] = {
    "minmax": min_max,
    "average": moving_average,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mean_squared_error,
}
AUTO = "auto"
DEFAULT = "mse"
