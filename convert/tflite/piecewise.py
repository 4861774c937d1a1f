"""A network computed piece by piece over all images at once: weights further on, and what they read, can be changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import open_interpreter, side_by_side
from convert.tflite.operators import Operator
from edge_runtime.arrays import Array
from edge_runtime.tensors import dequantize


class Piecewise:
    """Runs the operators of `graph`, of batch 1, over several inputs.

    Only what waiting operators read is remembered, and what the graph returns.

    Each operator is run once, but for those that unpack constants: they are run in every piece that reads what they
    unpack, because LiteRT 2.3 computes the other operators of a piece wrongly where that is an output. Constants may be
    changed in the graph until the operators that read them are run.
    """

    def __init__(self, graph: TfliteGraph, inputs: Sequence[Array], cores: int | None = None) -> None:
        """Take in what the graph's only input is for each image, without the batch axis.

        `cores` are used at once, see `run_piece`.
        """
        self.graph, self._cores = graph, cores
        self._unpacking = [operator for operator in graph.operators if not set(self._computed(operator))]
        self._waiting = [operator for operator in graph.operators if operator not in self._unpacking]
        self._values: dict[int, list[Array]] = {graph.inputs[0]: [tensor[np.newaxis] for tensor in inputs]}

    def knows(self, tensor: int) -> bool:
        """Return whether a tensor is computed, and still remembered."""
        return tensor in self._values

    def computed(self, tensor: int) -> list[Array]:
        """Return a tensor that is known, as it was computed for each image."""
        return self._values[tensor]

    def replace(self, tensor: int, values: list[Array]) -> None:
        """Let the operators that wait read other values of a tensor that is known, one for each image."""
        self._values[tensor] = values

    def step(self, operator: Operator) -> None:
        """Run one operator, if its inputs are known."""
        self.advance([i for other in self._waiting if other != operator for i in other.outputs])

    def advance(self, held: Collection[int]) -> None:
        """Run every operator whose inputs are known or become so, except those that compute a tensor of `held`."""
        ready, waiting = self._ready(held)
        needed = {i for operator in waiting for i in operator.inputs}.union(self.graph.outputs)
        outputs = [i for operator in ready for i in operator.outputs if i in needed]
        if outputs:
            inputs = sorted({i for operator in ready for i in operator.inputs if i in self._values})
            given = {i: self._values[i] for i in inputs}
            computed = run_piece(self.graph, self._with_unpacking(ready), outputs, given, self._cores)
            self._values.update(zip(outputs, map(list, zip(*computed, strict=True)), strict=True))
        self._waiting = waiting
        self._values = {i: values for i, values in self._values.items() if i in needed}

    def _ready(self, held: Collection[int]) -> tuple[list[Operator], list[Operator]]:
        """Split the waiting operators into those that can run, one after another, and the others."""
        known = set(self._values).union(*(operator.outputs for operator in self._unpacking))
        ready, waiting = [], []
        for operator in self._waiting:
            if not set(operator.outputs) & set(held) and known.issuperset(self._computed(operator)):
                known.update(operator.outputs)
                ready.append(operator)
            else:
                waiting.append(operator)
        return ready, waiting

    def _computed(self, operator: Operator) -> Iterator[int]:
        """Yield the inputs of an operator that are no constants."""
        yield from (i for i in operator.inputs if i in self.graph.inputs or self.graph.producer(i) is not None)

    def _with_unpacking(self, operators: Sequence[Operator]) -> list[Operator]:
        """Return operators behind those that unpack constants for them."""
        read = {i for operator in operators for i in operator.inputs}
        return [*(each for each in self._unpacking if read.intersection(each.outputs)), *operators]


def values_over(graph: TfliteGraph, tensor: int, images: Iterable[Array]) -> Iterator[Array]:
    """Yield a tensor of a graph of batch 1 for each image, dequantized, both without the batch axis.

    Images are taken when their turn comes, and none is kept.
    """
    (given,) = graph.inputs
    batches = (image[np.newaxis] for image in images)
    for (values,) in run_piece(graph, graph.needed_for([tensor]), [tensor], {given: batches}):
        yield real(values[0], graph.quantization(tensor))


def run_piece(
    graph: TfliteGraph,
    operators: Sequence[Operator],
    outputs: Sequence[int],
    given: Mapping[int, Iterable[Array]],
    cores: int | None = None,
) -> Iterator[list[Array]]:
    """Yield the outputs of some operators for each image; every core has an image of its own.

    Args:
        given: for each tensor that they are to be given, its value in every image.
        cores: how many to use; None for all of the machine's.
    """
    piece, moved = graph.piece(operators, list(given), outputs)

    def outputs_of(interpreter: Any, values: tuple[Array, ...]) -> list[Array]:
        for i, tensor in zip(given, values, strict=True):
            interpreter.set_tensor(moved[i], tensor)
        interpreter.invoke()
        return [interpreter.get_tensor(moved[i]) for i in outputs]

    values = zip(*given.values(), strict=True)
    return side_by_side(lambda threads: open_interpreter(piece, threads), outputs_of, values, cores)


def real(values: Array, quantization: tuple[float, int] | None) -> Array:
    """Return what values stand for, float32; `quantization` is scale and zero point, None of floats."""
    return values if quantization is None else dequantize(values, *quantization)
