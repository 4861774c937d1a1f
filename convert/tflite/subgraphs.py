"""Models of several subgraphs: bodies of WHILE and IF, and the functions that signatures name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convert.errors import DamagedModelError
from convert.tflite.graph import TfliteGraph
from edge_runtime.arrays import Array


@dataclass(frozen=True)
class Subgraph:
    """One subgraph: its name, its number of operators, and its inputs and outputs as tensors of the `JoinedGraph`."""

    name: str
    operators: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class JoinedGraph(TfliteGraph):
    """All subgraphs of a model, side by side as one graph, to be read and not to be run.

    Tensors are numbered through. Those of the second and later subgraphs have its name before theirs. Inputs and
    outputs are those of all subgraphs, as is what `signatures` names.

    Attributes:
        subgraphs: in the order of the file; the first is what an interpreter runs unless told otherwise.

    Raises:
        DamagedModelError: the bytes are not a TFLite model, or it has no subgraph.
    """

    subgraphs: tuple[Subgraph, ...]

    def _chosen_subgraph(self) -> Any:
        """Return the first subgraph, to which the others are added."""
        if not self._model.subgraphs:
            raise DamagedModelError("the model has no subgraph")
        joined, *others = self._model.subgraphs
        for name in ("tensors", "operators"):
            setattr(joined, name, list(getattr(joined, name) or []))
        offsets, found = [0], [_described(joined, "main", 0)]
        for number, graph in enumerate(others, 1):
            offset, name = len(joined.tensors), _name(graph) or f"subgraph_{number}"
            offsets.append(offset)
            found.append(_described(graph, name, offset))
            for tensor in graph.tensors or []:
                tensor.name = f"{name}/".encode() + (tensor.name or b"")
            for operator in graph.operators or []:
                operator.inputs, operator.outputs = _moved(operator.inputs, offset), _moved(operator.outputs, offset)
            joined.tensors += graph.tensors or []
            joined.operators += graph.operators or []
        for definition in self._model.signatureDefs or []:
            for entry in [*(definition.inputs or []), *(definition.outputs or [])]:
                entry.tensorIndex += offsets[definition.subgraphIndex]
        joined.inputs = np.array([i for graph in found for i in graph.inputs], np.int32)
        joined.outputs = np.array([i for graph in found for i in graph.outputs], np.int32)
        self.subgraphs = tuple(found)
        return joined


def _described(graph: Any, name: str, offset: int) -> Subgraph:
    inputs, outputs = (tuple(map(int, _moved(indices, offset))) for indices in (graph.inputs, graph.outputs))
    return Subgraph(_name(graph) or name, len(graph.operators or []), inputs, outputs)


def _name(graph: Any) -> str:
    return bytes(graph.name or b"").decode(errors="replace")


def _moved(indices: Any, offset: int) -> Array:
    """Return indices of tensors, moved up by an offset except for -1, an optional input left out."""
    wide = np.array([] if indices is None else indices, np.int64)
    return np.where(wide < 0, wide, wide + offset)
