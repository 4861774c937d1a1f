"""Statistics of every activation of a float network on the calibration images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from convert.errors import QuantizationError
from convert.quantization.calibrators import ActivationObserver, Range
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, logits_tensor, run_over
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize


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


def collect_statistics(
    float_model: bytes,
    images: Iterable[Pixels],
    spec: InputSpec,
    has_enough: Callable[[Sequence[Array]], bool] | None = None,
) -> ActivationStatistics:
    """Run a float network of batch 1 over images, and collect the statistics of every activation.

    `has_enough` is asked after each image whether to stop, given the extremes, (activations, 2), of each image so far.

    Raises:
        QuantizationError: there is no image, or an activation is not finite.
    """
    graph, engine = TfliteGraph(float_model), RecordingEngine(float_model)
    last, observers = logits_tensor(graph), {i: ChannelObserver(graph.shape(i)[-1]) for i in graph.activations}
    logits, extremes = [], []
    for _ in run_over(engine, (normalize(pixels, spec) for pixels in images)):
        extremes.append(np.array([observer.add(engine.tensor(i)) for i, observer in observers.items()], np.float32))
        logits.append(engine.tensor(last).reshape(-1))
        if has_enough is not None and has_enough(extremes):
            break
    if not logits:
        raise QuantizationError("no calibration image: pass --calibration with a folder of at least one readable image")
    by_name = {graph.tensor_name(i): observer for i, observer in observers.items()}
    for name, observer in by_name.items():
        low, high = observer.minimum.min(), observer.maximum.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise QuantizationError(
                f"activation {name} reaches {low} to {high} on the calibration images: "
                "the network or its preprocessing is broken"
            )
    return ActivationStatistics(
        {name: observer.minimum for name, observer in by_name.items()},
        {name: observer.maximum for name, observer in by_name.items()},
        {name: observer.mean for name, observer in by_name.items()},
        np.stack(logits).astype(np.float32),
        np.stack(extremes),
    )


def observe(float_model: bytes, images: Iterable[Pixels], spec: InputSpec) -> dict[str, ActivationObserver]:
    """Run a float network of batch 1 over images; return what calibrators need of each activation, by tensor name."""
    graph, engine = TfliteGraph(float_model), RecordingEngine(float_model)
    observers = {
        i: ActivationObserver(has_pixels=any(side > 1 for side in graph.shape(i)[1:-1])) for i in graph.activations
    }
    for _ in run_over(engine, (normalize(pixels, spec) for pixels in images)):
        for i, observer in observers.items():
            observer.add(engine.tensor(i))
    return {graph.tensor_name(i): observer for i, observer in observers.items()}
