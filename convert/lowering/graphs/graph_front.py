"""What stands between a graph's input and its first layer: arithmetic of each channel, taken off and told as a scaling.

`convert.images.feeding` makes one preprocessing of the scaling and of what the user says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.errors import SourceError
from convert.images.conventions import PIXELS, input_spec
from convert.images.feeding import Scaling, feeding
from convert.keras_models.front.wording import exact_numbers, shown_numbers
from convert.tflite.graph import TfliteGraph, layer_name
from convert.tflite.operators import ARITHMETIC, Operator
from edge_runtime import InputSpec
from edge_runtime.arrays import Array

REVERSED = "(channels reversed)"


@dataclass(frozen=True)
class GraphFront:
    """What was taken off: `scaling` makes of the input what the rest of the graph reads.

    `is_cast` says that the input are integers, so pixels.
    """

    scaling: Scaling
    is_cast: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """Return a line for each operator that was taken off."""
        return tuple(
            f"folded: {layer} into the card's {'channel order' if layer.endswith(REVERSED) else 'mean and std'}"
            for layer in self.scaling.layers
        )

    def then(self, behind: GraphFront) -> GraphFront:
        """Return this front and the one behind it as one."""
        first, second = self.scaling, behind.scaling
        order = list(second.source)
        scale, shift = (np.array(values, np.float64)[order] for values in (first.scale, first.shift))
        both = Scaling(
            tuple(first.source[channel] for channel in order),
            tuple((scale * second.scale).tolist()),
            tuple((shift * second.scale + second.shift).tolist()),
            layers=(*first.layers, *second.layers),
        )
        return GraphFront(both, self.is_cast or behind.is_cast)

    def spec(self, preprocessing: str | None, file: Path, size: Sequence[int]) -> InputSpec:
        """Return how images are prepared for the graph behind; `size` is height, width and channels.

        Raises:
            SourceError: neither the front nor the user says it, or the two contradict each other.
        """
        if self.is_cast and preprocessing is None:
            preprocessing = PIXELS
        if self.is_cast and self.scaling.is_silent and preprocessing is not None:
            given, plain = input_spec(preprocessing, *size), input_spec(PIXELS, *size)
            if (given.mean, given.std) != (plain.mean, plain.std):
                raise SourceError(
                    f"{file} takes pixels as uint8, and --preprocessing {preprocessing} says something else: leave it "
                    "out"
                )
        return feeding(self.scaling, preprocessing, file, size)


def no_front(channels: int, *, is_cast: bool = False) -> GraphFront:
    """Return the front of a graph whose first layer reads its input as it is, or only cast to float32."""
    return GraphFront(Scaling(tuple(range(channels)), (1.0,) * channels, (0.0,) * channels), is_cast)


def reversal(channels: int, name: str) -> GraphFront:
    """Return the front that takes the channels in the opposite order."""
    source = tuple(reversed(range(channels)))
    return GraphFront(Scaling(source, (1.0,) * channels, (0.0,) * channels, layers=(f"{name}{REVERSED}",)))


def affine(kind: str, name: str, values: Array, channels: int, *, is_first: bool) -> GraphFront | None:
    """Return what an operator does to each channel of an image: ADD, SUB, MUL or DIV with a constant.

    `is_first` says whether the image is its first operand. None for what is not an increasing function of a channel,
    as (pixel - mean) / std is.
    """
    if values.size not in (1, channels) or (values.size > 1 and values.shape[-1] != channels):
        return None
    value = np.broadcast_to(values.reshape(-1).astype(np.float64), channels)
    if not (is_first or kind in ("ADD", "MUL")) or (kind in ("MUL", "DIV") and np.any(value <= 0)):
        return None
    scale, shift = np.ones(channels), np.zeros(channels)
    if kind in ("ADD", "SUB"):
        shift = value if kind == "ADD" else -value
    else:
        scale = value if kind == "MUL" else 1 / value
    line = f"{name}({shown_numbers(exact_numbers(values))})"
    return GraphFront(Scaling(tuple(range(channels)), tuple(scale.tolist()), tuple(shift.tolist()), layers=(line,)))


def fold_front(graph: TfliteGraph, tensor: int) -> tuple[int, GraphFront]:
    """Take off sums, differences, products and quotients with constants, and reversals of the channels.

    Returns:
        The tensor behind what follows `tensor` without a branch, and what that makes of it.
    """
    front = no_front(graph.shape(tensor)[-1])
    while len(readers := graph.consumers(tensor)) == 1:
        step = _step(graph, readers[0], tensor)
        if step is None:
            break
        tensor, front = readers[0].outputs[0], front.then(step)
    return tensor, front


def _step(graph: TfliteGraph, operator: Operator, tensor: int) -> GraphFront | None:
    """Return what an operator makes of each channel of a tensor, (1, height, width, channels); None if it does more."""
    output, channels = operator.outputs[0], graph.shape(tensor)[-1]
    if graph.shape(output) != graph.shape(tensor):
        return None
    name = layer_name(graph.tensor_name(output))
    if _reverses(graph, operator):
        return reversal(channels, name)
    if operator.name not in ARITHMETIC or operator.fused_activation != "NONE":
        return None
    first, second = operator.inputs
    other = second if first == tensor else first
    if not graph.is_constant(other):
        return None
    return affine(operator.name, name, graph.constant(other), channels, is_first=first == tensor)


def _reverses(graph: TfliteGraph, operator: Operator) -> bool:
    """Return whether an operator takes the last of four axes from its end, and leaves all else as it is."""
    if not all(graph.is_constant(i) for i in operator.inputs[1:]):
        return False
    if operator.name == "REVERSE_V2":
        return [int(axis) % 4 for axis in graph.constant(operator.inputs[1])] == [3]
    return operator.name == "STRIDED_SLICE" and graph.constant(operator.inputs[3]).tolist() == [1, 1, 1, -1]
