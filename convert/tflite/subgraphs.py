"""Models of several subgraphs: bodies of WHILE and IF, and the functions that signatures name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convert.errors import DamagedModelError
from convert.tflite.graph import TfliteGraph
from convert.tflite.schema import SCHEMA
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
    outputs are those of all subgraphs, as is what `signatures` names. A constant that a call hands over is read as the
    constant it is.

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
        self._hand_over_constants(joined)
        return joined

    def _hand_over_constants(self, joined: Any) -> None:
        """Let the operators of called subgraphs read the constants that all their calls give to an input."""
        constants = dict[int, int]()
        for _ in self.subgraphs:  # calls nest: each round hands constants one call further in
            before, given = constants, defaultdict[int, set[int]](set)
            for operator in joined.operators:
                for inside, outside in _arguments(operator, self.subgraphs):
                    given[inside].add(constants.get(outside, outside))
            constants = {
                inside: next(iter(sources))
                for inside, sources in given.items()
                if len(sources) == 1 and self._is_stored(joined, next(iter(sources)))
            }
            if constants == before:
                break
        for operator in joined.operators if constants else ():
            inputs = [constants.get(i, i) for i in _moved(operator.inputs, 0).tolist()]
            operator.inputs = np.array(inputs, np.int64)

    def _is_stored(self, joined: Any, index: int) -> bool:
        data = self._model.buffers[joined.tensors[index].buffer].data if index >= 0 else None
        return data is not None and len(data) > 0


def _arguments(operator: Any, subgraphs: Sequence[Subgraph]) -> list[tuple[int, int]]:
    """Return, for each input of the subgraphs that an IF or WHILE calls, that input and the tensor it is given.

    Of a loop only what every turn is given, and hands on unchanged.
    """
    options, given = operator.builtinOptions, _moved(operator.inputs, 0).tolist()
    if isinstance(options, SCHEMA.IfOptionsT):
        called = [subgraphs[i] for i in (options.thenSubgraphIndex, options.elseSubgraphIndex)]
        return [pair for graph in called for pair in zip(graph.inputs, given[1:], strict=False)]
    if not isinstance(options, SCHEMA.WhileOptionsT):
        return []
    body = subgraphs[options.bodySubgraphIndex]
    turns = zip(body.inputs, given, body.outputs, strict=False)
    return [(inside, outside) for inside, outside, handed_on in turns if inside == handed_on]


def _described(graph: Any, name: str, offset: int) -> Subgraph:
    inputs, outputs = (tuple(map(int, _moved(indices, offset))) for indices in (graph.inputs, graph.outputs))
    return Subgraph(_name(graph) or name, len(graph.operators or []), inputs, outputs)


def _name(graph: Any) -> str:
    return bytes(graph.name or b"").decode(errors="replace")


def _moved(indices: Any, offset: int) -> Array:
    """Return indices of tensors, moved up by an offset except for -1, an optional input left out."""
    wide = np.array([] if indices is None else indices, np.int64)
    return np.where(wide < 0, wide, wide + offset)
