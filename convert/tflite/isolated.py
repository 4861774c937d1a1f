"""Every operator of a float network by itself: what it makes of inputs that are given, not of what others computed.

In a copy of the network each activation that an operator reads is an input of the graph, and each one that an operator
writes is an output. One run of it tells of all operators what they should have made of what they were given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from convert.tflite.graph import TfliteGraph
from edge_runtime.arrays import Array


class IsolatedOperators:
    """The operators of a float `.tflite`, each of which reads only what it is given."""

    def __init__(self, float_model: bytes) -> None:
        graph = TfliteGraph(float_model)
        self._copy_of = graph.cut_apart()
        self._written = graph.outputs
        self._interpreter = Interpreter(model_content=graph.to_bytes(), num_threads=os.cpu_count())
        self._interpreter.allocate_tensors()

    @property
    def read(self) -> tuple[int, ...]:
        """Return the activations that operators read, by their index in the network."""
        return tuple(self._copy_of)

    def run(self, values: Mapping[int, Array]) -> dict[int, Array]:
        """Return what every operator writes, by tensor, given the value of each tensor in `read`."""
        for tensor, copy in self._copy_of.items():
            self._interpreter.set_tensor(copy, values[tensor])
        self._interpreter.invoke()
        return {tensor: np.asarray(self._interpreter.get_tensor(tensor)) for tensor in self._written}
