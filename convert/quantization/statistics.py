"""Image folder -> representative tensors -> statistics of every activation, on the float network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from convert.errors import QuantizationError
from convert.quantization import convergence
from convert.quantization.observer import ActivationObserver
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, logits_tensor
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize


@dataclass(frozen=True)
class ActivationStatistics:
    """What calibration images do to a float network; keys are tensor names.

    Attributes:
        minimum, maximum, mean: of an activation for each of its channels, float64 (channels,).
        logits: float32 (images, classes), in the order of the images.
        extremes: float32 (images, activations, 2), smallest and largest value of each image, as it was measured.
    """

    minimum: dict[str, Array]
    maximum: dict[str, Array]
    mean: dict[str, Array]
    logits: Array
    extremes: Array

    @property
    def images(self) -> int:
        """How many images were seen."""
        return len(self.logits)

    def scaled(self, factors: dict[str, Array]) -> ActivationStatistics:
        """What they would be if the channels of each activation were multiplied by positive factors (channels,)."""
        minimum, maximum, mean = (
            {name: values * factors.get(name, 1.0) for name, values in by_name.items()}
            for by_name in (self.minimum, self.maximum, self.mean)
        )
        return replace(self, minimum=minimum, maximum=maximum, mean=mean)

    def clipped(self, ranges: dict[str, tuple[float, float]]) -> ActivationStatistics:
        """The same with the channels of each activation clipped to the range of its tensor."""
        minimum = {name: np.maximum(values, ranges[name][0]) for name, values in self.minimum.items()}
        maximum = {name: np.minimum(values, ranges[name][1]) for name, values in self.maximum.items()}
        return replace(self, minimum=minimum, maximum=maximum)


def collect_statistics(
    float_model: bytes,
    images: Iterable[Pixels],
    spec: InputSpec,
    enough: Callable[[Sequence[Array]], bool] = convergence.never,
) -> ActivationStatistics:
    """Run the float network over the images and keep the statistics of every activation.

    Args:
        float_model: a float `.tflite` of batch 1.
        images: uint8 pixels as `load_pixels` returns them.
        spec: how they are normalized.
        enough: told the extremes of each image so far, whether to look at no more.

    Raises:
        QuantizationError: no image, or an activation that is not finite.
    """
    graph, engine = TfliteGraph(float_model), RecordingEngine(float_model)
    activations = [i for i in range(graph.tensor_count()) if graph.is_activation(i)]
    minimum, maximum, sums = (
        {i: np.full(graph.shape(i)[-1], start) for i in activations} for start in (np.inf, -np.inf, 0.0)
    )
    logits, extremes, last = [], [], logits_tensor(graph)
    for pixels in images:
        engine.run(normalize(pixels, spec)[np.newaxis])
        ends = np.empty((len(activations), 2), np.float32)
        for row, i in enumerate(activations):
            values = engine.tensor(i).reshape(-1, graph.shape(i)[-1])
            low, high = values.min(axis=0), values.max(axis=0)
            np.minimum(minimum[i], low, out=minimum[i])
            np.maximum(maximum[i], high, out=maximum[i])
            sums[i] += values.mean(axis=0, dtype=np.float64)
            ends[row] = low.min(), high.max()
        logits.append(engine.tensor(last).reshape(-1))
        extremes.append(ends)
        if enough(extremes):
            break
    if not logits:
        raise QuantizationError("no calibration image: pass --calibration with a folder of at least one readable image")
    for i in activations:
        low, high = minimum[i].min(), maximum[i].max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise QuantizationError(
                f"activation {graph.tensor_name(i)} reaches {low} to {high} on the calibration images: "
                "the network or its preprocessing is broken"
            )
    names = {i: graph.tensor_name(i) for i in activations}
    return ActivationStatistics(
        {names[i]: minimum[i] for i in activations},
        {names[i]: maximum[i] for i in activations},
        {names[i]: sums[i] / len(logits) for i in activations},
        np.stack(logits).astype(np.float32),
        np.stack(extremes),
    )


def observe(float_model: bytes, images: Iterable[Pixels], spec: InputSpec) -> dict[str, ActivationObserver]:
    """Run a float network over images, and see what values each activation takes.

    Args:
        float_model: a float `.tflite` of batch 1.
        images: uint8 pixels as `load_pixels` returns them.
        spec: how they are normalized.

    Returns:
        What was seen, by tensor name.
    """
    graph, engine = TfliteGraph(float_model), RecordingEngine(float_model)
    seen = {i: ActivationObserver() for i in range(graph.tensor_count()) if graph.is_activation(i)}
    for pixels in images:
        engine.run(normalize(pixels, spec)[np.newaxis])
        for i, observed in seen.items():
            observed.add(engine.tensor(i))
    return {graph.tensor_name(i): observed for i, observed in seen.items()}
