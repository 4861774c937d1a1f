"""What values an activation takes, in memory that does not grow with their number."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edge_runtime.arrays import Array

Range = tuple[float, float]

HALF = 2048
"""Bins on each side of zero."""
SMALLEST_LIMIT = 2.0**-100
SMOOTHING = 0.95
"""Weight of what was before in a moving average; TFLite's tools take the same."""
MOST_VALUES = 2**16
"""At most so many evenly spaced values of an activation are counted in an image."""


@dataclass
class Histogram:
    """Counts of values in equal bins on both sides of zero.

    `limit` is a power of two and doubles when a value reaches it, each pair of bins becoming one. So two
    histograms of parts of the values can be merged exactly, whatever each has seen.

    Attributes:
        limit: bins cover [-limit, limit).
        counts: int64 (2 * HALF,), from -limit upwards; zero is the lower edge of bin HALF.
    """

    limit: float = SMALLEST_LIMIT
    counts: Array = field(default_factory=lambda: np.zeros(2 * HALF, np.int64))

    @property
    def width(self) -> float:
        """Of a bin."""
        return self.limit / HALF

    @property
    def centres(self) -> Array:
        """The middle of each bin, float64 (2 * HALF,)."""
        return (np.arange(-HALF, HALF) + 0.5) * self.width

    def add(self, values: Array) -> None:
        """Count finite values of any shape."""
        if values.size:
            self._grow(max(float(values.max()), -float(values.min())))
            bins = np.floor(values.reshape(-1) * np.float32(1 / self.width)).astype(np.int32) + HALF
            self.counts += np.bincount(bins, minlength=2 * HALF)

    def merged(self, other: Histogram) -> Histogram:
        """The histogram of the values of both."""
        both = Histogram(self.limit, self.counts.copy())
        both._grow(other.limit / 2)
        wide = Histogram(other.limit, other.counts)
        wide._grow(both.limit / 2)
        both.counts += wide.counts
        return both

    def _grow(self, largest: float) -> None:
        if largest >= self.limit:
            limit = 2.0 ** float(np.frexp(largest)[1])
            bins = np.floor(np.arange(-HALF, HALF) * (self.limit / limit)).astype(int) + HALF
            self.counts = np.bincount(bins, self.counts, 2 * HALF).astype(np.int64)
            self.limit = limit


@dataclass
class ActivationObserver:
    """What was seen of one activation.

    Attributes:
        minimum, maximum: of all values; 0 is always among them, as it is in every range.
        moving: moving averages of the smallest and the largest value of an image; None before the first.
        histogram: of the values.
    """

    minimum: float = 0.0
    maximum: float = 0.0
    moving: Range | None = None
    histogram: Histogram = field(default_factory=Histogram)

    def add(self, values: Array) -> None:
        """Take in the activation of one more image: finite float32 of any shape."""
        low, high = float(values.min()), float(values.max())
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        before = self.moving or (low, high)
        self.moving = (
            SMOOTHING * before[0] + (1 - SMOOTHING) * low,
            SMOOTHING * before[1] + (1 - SMOOTHING) * high,
        )
        flat = values.reshape(-1)
        self.histogram.add(flat[:: -(-flat.size // MOST_VALUES)])
