"""What stands between a graph's input and its first layer: arithmetic of each channel, folded into the preprocessing.

    file takes x = (pixel - mean) / std,  front computes factor * x + offset  ->  one mean and std for both
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from convert.errors import SourceError
from convert.images.conventions import CONVENTIONS, input_spec, unknown_preprocessing
from convert.tflite.graph import TfliteGraph, layer_name
from convert.tflite.operators import Operator
from edge_runtime import InputSpec
from edge_runtime.arrays import Array

LARGEST_SCALE, LARGEST_SHIFT = 0.1, -50.0
"""Pixels 0..255 are what a front takes that makes them smaller than this, or shifts all of them by more than that."""


@dataclass(frozen=True)
class Front:
    """What was folded: `tensor` of the graph, float32 (1, height, width, channels), holds factor * input + offset."""

    tensor: int
    factor: Array
    offset: Array
    folded: tuple[str, ...] = ()

    @property
    def takes_pixels(self) -> bool:
        """Return whether only pixels 0..255 make sense as the input of what was folded."""
        return bool(self.folded) and bool(
            np.all(np.abs(self.factor) <= LARGEST_SCALE) or np.all(self.offset <= LARGEST_SHIFT)
        )

    def before(self, image: Array) -> Array:
        """Return what becomes `image` (..., channels) in the front, float64."""
        return np.asarray((np.asarray(image, np.float64) - self.offset) / self.factor)


def fold_front(graph: TfliteGraph, tensor: int) -> Front:
    """Fold sums, differences, products and quotients with constants behind a tensor, as far as they follow each other.

    Those stay whose factor is not positive: a standard deviation is.
    """
    channels = graph.shape(tensor)[-1]
    front = Front(tensor, np.ones(channels), np.zeros(channels))
    while True:
        readers = graph.consumers(front.tensor)
        step = _affine(graph, readers[0], front.tensor) if len(readers) == 1 else None
        if step is None or np.any(step[0] <= 0):
            return front
        name = layer_name(graph.tensor_name(readers[0].outputs[0]))
        front = Front(
            readers[0].outputs[0],
            front.factor * step[0],
            front.offset * step[0] + step[1],
            (*front.folded, f"{readers[0].name} {name}: folded into the preprocessing"),
        )


def composed(front: Front, preprocessing: str | None, size: tuple[int, int], source: Path) -> InputSpec:
    """Return how images are prepared for the tensor behind a front, if `preprocessing` says how for the input before.

    None stands for pixels 0..255 where these are what the front takes.

    Raises:
        SourceError: neither the front nor the user says it, or the two contradict each other.
    """
    if front.takes_pixels and preprocessing not in (None, "none"):
        spec = input_spec(preprocessing or "none", *size)
        if (set(spec.mean), set(spec.std)) != ({0.0}, {1.0}):
            raise SourceError(
                f"--preprocessing {preprocessing} contradicts {source}, which takes pixels 0..255 and scales them "
                "itself: leave it out"
            )
    elif preprocessing is None and not front.takes_pixels:
        raise unknown_preprocessing(source)
    else:
        spec = input_spec(preprocessing or "none", *size)
    if not front.folded:
        return spec
    mean, std = np.array(spec.mean), np.array(spec.std)
    return replace(
        spec,
        mean=tuple(map(_plain, mean - front.offset / front.factor * std)),
        std=tuple(map(_plain, std / front.factor)),
    )


def _affine(graph: TfliteGraph, operator: Operator, tensor: int) -> tuple[Array, Array] | None:
    """Return factor and offset of each channel, float64, if an operator computes factor * x + offset; else None."""
    if operator.name not in ("ADD", "SUB", "MUL", "DIV") or operator.fused_activation != "NONE":
        return None
    first, second = operator.inputs
    other = second if first == tensor else first
    channels = graph.shape(tensor)[-1]
    if not graph.is_constant(other) or graph.shape(operator.outputs[0]) != graph.shape(tensor):
        return None
    values = graph.constant(other)
    if values.size not in (1, channels) or (values.size > 1 and values.shape[-1] != channels):
        return None
    value = np.broadcast_to(values.reshape(-1).astype(np.float64), channels)
    one, zero = np.ones(channels), np.zeros(channels)
    if operator.name == "ADD":
        return one, value
    if operator.name == "MUL":
        return value, zero
    if tensor != first:  # a constant less, or divided by, the image
        return None
    return (one, -value) if operator.name == "SUB" else (1 / value, zero)


def _plain(value: float) -> float:
    """Return a mean or a standard deviation without the noise of float32 in its last digits."""
    return float(f"{value:.7g}")
