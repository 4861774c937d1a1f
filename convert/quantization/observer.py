"""Observers of one activation: they take it in image by image, in memory that does not grow with the number of images.

`ChannelObserver` keeps what equalization and bias correction need of each channel, `ActivationObserver` what
calibrators need of the whole tensor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edge_runtime.arrays import Array

Range = tuple[float, float]

HALF = 2048
"""Bins on each side of zero."""
SMALLEST_LIMIT = 2.0**-100
SMOOTHING = 0.95
"""Weight of the previous value in a moving average; TFLite's tools use the same."""
MOST_VALUES = 2**16
"""An image's activation is counted at this many evenly spaced values at most."""


class ChannelObserver:
    """Extremes and mean of every channel of an activation, float64 (channels,)."""

    def __init__(self, channels: int) -> None:
        self.minimum: Array = np.full(channels, np.inf)
        self.maximum: Array = np.full(channels, -np.inf)
        self._sum: Array = np.zeros(channels)
        self._images = 0

    @property
    def mean(self) -> Array:
        """Return the mean over all images."""
        return self._sum / self._images

    def add(self, values: Array) -> Range:
        """Take in the activation of one more image, (..., channels), and return its smallest and its largest value."""
        values = values.reshape(-1, len(self.minimum))
        low, high = values.min(axis=0), values.max(axis=0)
        np.minimum(self.minimum, low, out=self.minimum)
        np.maximum(self.maximum, high, out=self.maximum)
        self._sum += values.mean(axis=0, dtype=np.float64)
        self._images += 1
        return float(low.min()), float(high.max())


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

    def add(self, values: Array) -> None:
        """Count finite values of any shape, at least one; double the limit until it exceeds them all."""
        largest = max(float(values.max()), -float(values.min()))
        if largest >= self.limit:
            limit = 2.0 ** float(np.frexp(largest)[1])
            bins = np.floor(np.arange(-HALF, HALF) * (self.limit / limit)).astype(int) + HALF
            self.counts = np.bincount(bins, self.counts, 2 * HALF).astype(np.int64)
            self.limit = limit
        bins = np.floor(values.reshape(-1) * np.float32(1 / self.width)).astype(np.int32) + HALF
        self.counts += np.bincount(bins, minlength=2 * HALF)


@dataclass
class ActivationObserver:
    """Range and histogram of the values of a whole activation.

    Attributes:
        minimum, maximum: extremes of all values and of 0, which every range must contain.
        moving: moving averages of the smallest and the largest value of an image; None before the first image.
    """

    minimum: float = 0.0
    maximum: float = 0.0
    moving: Range | None = None
    histogram: Histogram = field(default_factory=Histogram)

    def add(self, values: Array) -> None:
        """Take in the activation of one more image: finite float32 of any shape."""
        low, high = float(values.min()), float(values.max())
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        lows, highs = self.moving or (low, high)
        self.moving = SMOOTHING * lows + (1 - SMOOTHING) * low, SMOOTHING * highs + (1 - SMOOTHING) * high
        flat = values.reshape(-1)
        self.histogram.add(flat[:: -(-flat.size // MOST_VALUES)])
