"""A network computed piece by piece over all images at once: weights further on, and what they read, can be changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import open_interpreter, side_by_side
from convert.tflite.operators import Operator
from edge_runtime.arrays import Array


class Piecewise:
    """Runs the operators of `graph`, of batch 1, over several inputs.

    Only what waiting operators read is remembered, and what the graph returns.

    Each operator is run once, but for those that unpack constants: they are run in every piece that reads what they
    unpack, because LiteRT 2.3 computes the other operators of a piece wrongly where that is an output. Constants may be
    changed in the graph until the operators that read them are run.
    """

    def __init__(self, graph: TfliteGraph, inputs: Sequence[Array]) -> None:
        """Take in what the graph's only input is for each image, without the batch axis."""
        self.graph = graph
        self._unpacking = [operator for operator in graph.operators if not set(self._computed(operator))]
        self._waiting = [operator for operator in graph.operators if operator not in self._unpacking]
        self._values: dict[int, list[Array]] = {graph.inputs[0]: [tensor[np.newaxis] for tensor in inputs]}

    def knows(self, tensor: int) -> bool:
        """Return whether a tensor is computed, and still remembered."""
        return tensor in self._values

    def values(self, tensor: int, image: int) -> Array:
        """Return a tensor that is known, dequantized if it holds integers, float32 without the batch axis."""
        values, quantization = self._values[tensor][image][0], self.graph.quantization(tensor)
        if quantization is None:
            return np.asarray(values)
        scale, zero_point = quantization
        return np.asarray((values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale))

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
            computed = self._computed_piece(self._with_unpacking(ready), inputs, outputs)
            self._values.update(zip(outputs, map(list, zip(*computed, strict=True)), strict=True))
        self._waiting = waiting
        self._values = {i: values for i, values in self._values.items() if i in needed}

    def _computed_piece(
        self, operators: Sequence[Operator], inputs: Sequence[int], outputs: Sequence[int]
    ) -> Iterator[list[Array]]:
        """Yield the outputs of a piece for each image; every core has an image of its own."""
        piece, moved = self.graph.piece(operators, inputs, outputs)

        def outputs_of(interpreter: Any, given: tuple[Array, ...]) -> list[Array]:
            for i, tensor in zip(inputs, given, strict=True):
                interpreter.set_tensor(moved[i], tensor)
            interpreter.invoke()
            return [interpreter.get_tensor(moved[i]) for i in outputs]

        given = zip(*(self._values[i] for i in inputs), strict=True)
        return side_by_side(lambda threads: open_interpreter(piece, threads), outputs_of, given)

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
