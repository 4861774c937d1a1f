"""What stands between a graph's input and its first layer: arithmetic of each channel, folded into the preprocessing.

file takes x = (pixel - mean) / std,  front computes factor * x + offset  ->  one mean and std for both
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from convert.errors import SourceError
from convert.images.conventions import Triple, input_spec, unknown_preprocessing
from convert.tflite.graph import TfliteGraph, layer_name
from convert.tflite.operators import ARITHMETIC, Operator
from edge_runtime import InputSpec
from edge_runtime.arrays import Array

LARGEST_SCALE, LARGEST_SHIFT = 0.1, -50.0
"""Pixels 0..255 are what a front takes that makes them smaller than this, or shifts all of them by more than that."""


@dataclass(frozen=True)
class Front:
    """What was folded: `tensor` of the graph, float32 (1, height, width, channels), holds factor * input + offset.

    `folded` has a line for each operator; `is_cast` says that the input are integers, so pixels.
    """

    tensor: int
    factor: Array
    offset: Array
    folded: tuple[str, ...] = ()
    is_cast: bool = False

    @property
    def takes_pixels(self) -> bool:
        """Return whether only pixels 0..255 make sense as the input of what was folded."""
        return self.is_cast or bool(np.all(self.factor <= LARGEST_SCALE) or np.all(self.offset <= LARGEST_SHIFT))

    def then(self, behind: Front) -> Front:
        """Return this front and the one behind it as one."""
        factor, offset = self.factor * behind.factor, self.offset * behind.factor + behind.offset
        folded, is_cast = (*self.folded, *behind.folded), self.is_cast or behind.is_cast
        return Front(behind.tensor, factor, offset, folded, is_cast)

    def before(self, image: Array) -> Array:
        """Return what becomes `image` (..., channels) in the front, float64."""
        return np.asarray((np.asarray(image, np.float64) - self.offset) / self.factor)


def fold_front(graph: TfliteGraph, tensor: int) -> Front:
    """Fold sums, differences, products and quotients with constants behind a tensor, as far as they follow each other.

    Those stay whose factor is not positive, as a standard deviation is.
    """
    front = no_front(graph.shape(tensor)[-1], tensor)
    while True:
        readers = graph.consumers(front.tensor)
        step = _step(graph, readers[0], front.tensor) if len(readers) == 1 else None
        if step is None:
            return front
        front = front.then(step)


def no_front(channels: int, tensor: int = -1, *, is_cast: bool = False) -> Front:
    """Return the front of a network whose first layer reads its input as it is, or only cast to float32."""
    return Front(tensor, np.ones(channels), np.zeros(channels), is_cast=is_cast)


def affine(kind: str, name: str, values: Array, channels: int, *, is_first: bool, tensor: int = -1) -> Front | None:
    """Return what an operator does to each channel of an image: ADD, SUB, MUL or DIV with a constant.

    `is_first` says whether the image is its first operand. None for what is not an increasing function of a channel.
    """
    if values.size not in (1, channels) or (values.size > 1 and values.shape[-1] != channels):
        return None
    value = np.broadcast_to(values.reshape(-1).astype(np.float64), channels)
    if not (is_first or kind in ("ADD", "MUL")) or (kind in ("MUL", "DIV") and np.any(value <= 0)):
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    factor, offset = {"ADD": (one, value), "SUB": (one, -value), "MUL": (value, zero)}.get(kind, (one, zero))
    if kind == "DIV":
        factor = 1 / value
    return Front(tensor, factor, offset, (f"{kind} {name}: folded into the preprocessing",))


def composed(front: Front, preprocessing: str | None, size: tuple[int, int], source: Path) -> InputSpec:
    """Return how images are prepared for the tensor behind a front, if `preprocessing` says how for the input before.

    None stands for pixels 0..255 where these are what the front takes.

    Raises:
        SourceError: neither the front nor the user says it, or the two contradict each other.
    """
    if preprocessing is None and not front.takes_pixels:
        raise unknown_preprocessing(source)
    spec = input_spec(preprocessing or "none", *size)
    if front.takes_pixels and {*spec.mean, *spec.std} != {0.0, 1.0}:
        raise SourceError(
            f"--preprocessing {preprocessing} contradicts {source}, which takes pixels 0..255 and scales them itself: "
            "leave it out"
        )
    if not front.folded:
        return spec
    std = np.array(spec.std)
    mean = np.array(spec.mean) - front.offset / front.factor * std
    return replace(spec, mean=_plain(mean), std=_plain(std / front.factor))


def _step(graph: TfliteGraph, operator: Operator, tensor: int) -> Front | None:
    """Return what an operator does to each channel of a tensor, if it computes one increasing function of each."""
    if operator.name not in ARITHMETIC or operator.fused_activation != "NONE":
        return None
    first, second = operator.inputs
    other, output = second if first == tensor else first, operator.outputs[0]
    if not graph.is_constant(other) or graph.shape(output) != graph.shape(tensor):
        return None
    name, values = layer_name(graph.tensor_name(output)), graph.constant(other)
    return affine(operator.name, name, values, graph.shape(tensor)[-1], is_first=first == tensor, tensor=output)


def _plain(values: Array) -> Triple:
    """Return means or standard deviations without the noise of float32 in their last digits."""
    first, second, third = (float(f"{value:.7g}") for value in values)
    return first, second, third
