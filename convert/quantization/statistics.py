"""Statistics of every activation of a float network on the calibration images."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from convert.errors import QuantizationError
from convert.quantization.calibrators import Histogram, ObservedActivation, Range
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, logits_tensor, record_over
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize

SMOOTHING = 0.95
"""Weight of the previous value in a moving average; TFLite's tools use the same."""
SAMPLED_VALUES = 2**11
"""The largest number of values of an activation that are kept of an image, but at least one of every channel."""
WIDE = 64
"""The fewest channels that are reduced pixel by pixel: with fewer, lines of pixels take a third of the time."""
SAMPLED_IMAGES = 2**7
"""The largest number of images of which values are kept."""


@dataclass(frozen=True)
class ActivationStatistics:
    """Statistics of a float network's activations; keys are tensor names.

    Attributes:
        minimum, maximum, mean: of every channel of an activation, float64 (channels,).
        logits: float32 (images, classes), in the order of the images.
        extremes: float32 (images, activations, 2), the smallest and the largest value in each image, as measured.
    """

    minimum: dict[str, Array]
    maximum: dict[str, Array]
    mean: dict[str, Array]
    logits: Array
    extremes: Array

    @property
    def images(self) -> int:
        """Return the number of images."""
        return len(self.logits)

    def scaled(self, factors: dict[str, Array]) -> ActivationStatistics:
        """Return the statistics of a network whose activations are multiplied by positive factors (channels,)."""
        minimum, maximum, mean = (
            {name: values * factors.get(name, 1.0) for name, values in by_name.items()}
            for by_name in (self.minimum, self.maximum, self.mean)
        )
        return replace(self, minimum=minimum, maximum=maximum, mean=mean)

    def clipped(self, ranges: dict[str, Range]) -> ActivationStatistics:
        """Return the statistics with the extremes of each activation clipped to a range (low, high) of its tensor."""
        minimum = {name: np.maximum(values, ranges[name][0]) for name, values in self.minimum.items()}
        maximum = {name: np.minimum(values, ranges[name][1]) for name, values in self.maximum.items()}
        return replace(self, minimum=minimum, maximum=maximum)


@dataclass(frozen=True)
class Measured:
    """What is kept of an activation of one image.

    Attributes:
        low, high, mean: of every channel, (channels,); the mean is float64.
        rows: of all channels at random positions, float32 (n, channels).
        weight: how many positions each of them stands for.
    """

    low: Array
    high: Array
    mean: Array
    rows: Array
    weight: int

    @classmethod
    def of(cls, values: Array, seed: tuple[int, int]) -> Measured:
        """Measure an activation (..., channels); the positions depend on `seed`."""
        channels = values.shape[-1]
        rows = values.reshape(-1, channels)
        number = max(1, SAMPLED_VALUES // channels)
        sample = rows if len(rows) <= number else rows[np.random.default_rng(seed).integers(len(rows), size=number)]
        lines = rows if values.ndim < 4 else values.reshape(-1, values.shape[-2] * channels)
        wide = rows if channels >= WIDE else lines
        low, high = (reduce(wide, axis=0).reshape(-1, channels) for reduce in (np.min, np.max))
        sums = np.sum(lines, axis=0).reshape(-1, channels)  # of few float32 values each, so that no digit is lost
        mean = sums.sum(axis=0, dtype=np.float64) / len(rows)
        return cls(low.min(axis=0), high.max(axis=0), mean, sample.copy(), round(len(rows) / len(sample)))


@dataclass(frozen=True)
class MeasuredImage:
    """What is kept of one image: of each of `TfliteGraph.activations`, and its logits, float32 (classes,)."""

    activations: list[Measured]
    logits: Array

    def without_rows(self) -> MeasuredImage:
        """Return the same of an image whose rows nobody keeps."""
        return MeasuredImage([replace(each, rows=each.rows[:0]) for each in self.activations], self.logits)


class Gauge:
    """Measures the images that a float network was run over."""

    def __init__(self, float_model: bytes) -> None:
        graph = TfliteGraph(float_model)
        self._activations, self._logits = graph.activations, logits_tensor(graph)

    def measure(self, engine: RecordingEngine, number: int) -> MeasuredImage:
        """Measure the image that an engine of the network ran last; the sampled positions depend on its number."""
        activations = [Measured.of(engine.view(i), (i, number)) for i in self._activations]
        return MeasuredImage(activations, engine.tensor(self._logits).reshape(-1))


def sampled_every(images: int) -> int:
    """Return the step between the images of which a `ChannelObserver` still has values after so many images."""
    every = 1
    while -(-images // every) > SAMPLED_IMAGES:
        every *= 2
    return every


class ChannelObserver:
    """What is known of every channel of an activation, in memory that does not grow with the number of images.

    Attributes:
        has_pixels: whether an image gives several values of a channel.
        minimum, maximum: float64 (channels,).
        moving: moving averages of the smallest and the largest value of an image, (2, channels).
    """

    def __init__(self, channels: int, *, has_pixels: bool) -> None:
        self.has_pixels = has_pixels
        self.minimum: Array = np.full(channels, np.inf)
        self.maximum: Array = np.full(channels, -np.inf)
        self.moving: Array = np.zeros((2, channels))
        self._sum: Array = np.zeros(channels)
        self._images, self._every = 0, 1
        self._rows: list[Array] = []
        self._ends: list[Array] = []
        self._weight = 1

    @property
    def mean(self) -> Array:
        """Return the mean over all images."""
        return self._sum / self._images

    def add(self, measured: Measured) -> Range:
        """Take in the activation of one more image, and return its smallest and its largest value."""
        np.minimum(self.minimum, measured.low, out=self.minimum)
        np.maximum(self.maximum, measured.high, out=self.maximum)
        ends = np.stack([measured.low, measured.high])
        self.moving = SMOOTHING * self.moving + (1 - SMOOTHING) * ends if self._images else ends.astype(np.float64)
        self._sum += measured.mean
        if self._images % self._every == 0:
            self._rows.append(measured.rows)
            self._ends.append(ends)
            self._weight = measured.weight
        self._images += 1
        if len(self._rows) > SAMPLED_IMAGES:
            self._rows, self._ends, self._every = self._rows[::2], self._ends[::2], 2 * self._every
        return float(measured.low.min()), float(measured.high.max())

    def observed(self, factors: Array | float = 1.0) -> ObservedActivation:
        """Return what calibrators need, of channels that are multiplied by positive factors (channels,)."""
        histogram = Histogram()
        histogram.add(np.concatenate(self._rows) * np.asarray(factors, np.float32), self._weight)
        if self._weight > 1:
            histogram.add(np.concatenate(self._ends) * np.asarray(factors, np.float32))
        low, high = self.moving * factors
        return ObservedActivation(
            min(0.0, float((self.minimum * factors).min())),
            max(0.0, float((self.maximum * factors).max())),
            (float(low.min()), float(high.max())),
            histogram,
            self.has_pixels,
        )


Measurements = Generator[MeasuredImage, None, None]


class Measure(Protocol):
    """Runs a float network of batch 1 over images, and yields what is kept of each, in their order.

    That depends on the network, the image and its number alone, wherever it is computed. `fewest` is a number of images
    that will be taken in at least: which tells of some that no values have to be kept, see `sampled_every`.
    """

    def __call__(self, float_model: bytes, images: Iterable[Pixels], spec: InputSpec, fewest: int) -> Measurements:
        """Yield what is kept of each image."""


def measure_here(float_model: bytes, images: Iterable[Pixels], spec: InputSpec, fewest: int = 0) -> Measurements:
    """Measure images in this process, one on each core; see `Measure`."""
    yield from record_over(float_model, (normalize(pixels, spec) for pixels in images), Gauge(float_model).measure)


def collect_statistics(
    float_model: bytes,
    images: Iterable[Pixels],
    spec: InputSpec,
    has_enough: Callable[[Sequence[Array]], bool] | None = None,
    measure: Measure = measure_here,
    fewest: int = 0,
) -> tuple[ActivationStatistics, dict[str, ChannelObserver]]:
    """Run a float network of batch 1 over images, and collect the statistics of every activation.

    `has_enough` is asked after each image whether to stop, given the extremes, (activations, 2), of each image so far.
    The observers, by tensor name, know more than goes into the statistics: what calibrators need. For `fewest`, see
    `Measure`.

    Raises:
        QuantizationError: there is no image, or an activation is not finite.
    """
    graph, logits, extremes = TfliteGraph(float_model), list[Array](), list[Array]()
    observers = {
        i: ChannelObserver(channels, has_pixels=any(side > 1 for side in sides))
        for i in graph.activations
        for _, *sides, channels in [graph.shape(i)]
    }
    with closing(measure(float_model, images, spec, fewest)) as measured:
        for image in measured:
            ends = [observer.add(each) for observer, each in zip(observers.values(), image.activations, strict=True)]
            extremes.append(np.array(ends, np.float32))
            logits.append(image.logits)
            if has_enough is not None and has_enough(extremes):
                break
    if not logits:
        raise QuantizationError("no calibration image: pass --calibration with a folder of at least one readable image")
    by_name = {graph.tensor_name(i): observer for i, observer in observers.items()}
    _refuse_infinite(by_name)
    statistics = ActivationStatistics(
        {name: observer.minimum for name, observer in by_name.items()},
        {name: observer.maximum for name, observer in by_name.items()},
        {name: observer.mean for name, observer in by_name.items()},
        np.stack(logits).astype(np.float32),
        np.stack(extremes),
    )
    return statistics, by_name


def _refuse_infinite(observers: Mapping[str, ChannelObserver]) -> None:
    """Raise `QuantizationError` for an activation that is not finite."""
    for name, observer in observers.items():
        low, high = observer.minimum.min(), observer.maximum.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise QuantizationError(
                f"activation {name} reaches {low} to {high} on the calibration images: "
                "the network or its preprocessing is broken, check its weights and --preprocessing"
            )
