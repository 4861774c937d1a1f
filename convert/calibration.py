"""Image folder -> representative tensors -> statistics of every activation, on the float network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.errors import QuantizationError
from convert.recording import RecordingEngine, logits_tensor
from convert.tflite_graph import TfliteGraph
from edge_runtime import InputSpec
from edge_runtime.preprocess import Pixels, normalize

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Statistics:
    """What calibration images do to a float network; keys are tensor names.

    Attributes:
        minimum, maximum, mean: of an activation for each of its channels, float64 (channels,).
        logits: float32 (images, classes), in the order of the images.
    """

    minimum: dict[str, Array]
    maximum: dict[str, Array]
    mean: dict[str, Array]
    logits: Array

    @property
    def images(self) -> int:
        """How many images were seen."""
        return len(self.logits)

    def scaled(self, factors: dict[str, Array]) -> Statistics:
        """What they would be if the channels of each activation were multiplied by positive factors (channels,)."""
        minimum, maximum, mean = (
            {name: values * factors.get(name, 1.0) for name, values in by_name.items()}
            for by_name in (self.minimum, self.maximum, self.mean)
        )
        return Statistics(minimum, maximum, mean, self.logits)


def measure(float_model: bytes, images: Iterable[Pixels], spec: InputSpec) -> Statistics:
    """Run the float network over the images and keep the statistics of every activation.

    Args:
        float_model: a float `.tflite` of batch 1.
        images: uint8 pixels as `load_pixels` returns them.
        spec: how they are normalized.

    Raises:
        QuantizationError: no image, or an activation that is not finite.
    """
    graph, engine = TfliteGraph(float_model), RecordingEngine(float_model)
    activations = [i for i in range(graph.tensor_count()) if graph.is_activation(i)]
    minimum, maximum, sums = (
        {i: np.full(graph.shape(i)[-1], start) for i in activations} for start in (np.inf, -np.inf, 0.0)
    )
    logits, last = [], logits_tensor(graph)
    for pixels in images:
        engine.run(normalize(pixels, spec)[np.newaxis])
        for i in activations:
            values = engine.tensor(i).reshape(-1, graph.shape(i)[-1])
            np.minimum(minimum[i], values.min(axis=0), out=minimum[i])
            np.maximum(maximum[i], values.max(axis=0), out=maximum[i])
            sums[i] += values.mean(axis=0, dtype=np.float64)
        logits.append(engine.tensor(last).reshape(-1))
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
    return Statistics(
        {names[i]: minimum[i] for i in activations},
        {names[i]: maximum[i] for i in activations},
        {names[i]: sums[i] / len(logits) for i in activations},
        np.stack(logits).astype(np.float32),
    )
