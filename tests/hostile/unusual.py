"""1,000 ways to spoil a model of several subgraphs, of sparse weights or of other ends, each made from its number."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tests.edge_runtime import unusual_models
from tests.hostile.damage import FOUR_GIGABYTES, WILD, scrambled
from tests.hostile.graphs import GRAPH_CHANGES

COUNT = 1000


def unusual_file(number: int) -> tuple[bytes, str]:
    """A spoiled model of several subgraphs, of sparse weights or of other ends, and in which way."""
    random = Random(number)
    way = WAYS[number % len(WAYS)]
    return way(random, random.choice(sound_models())), way.__name__.strip("_")


@cache
def sound_models() -> tuple[bytes, ...]:
    """Each answers as the tiny network does; the last has more inputs, and is refused where one is wanted."""
    sparse = (unusual_models.sparse(), unusual_models.sparse("float16"))
    return (unusual_models.branching(), unusual_models.two_signatures(), *sparse, unusual_models.with_ends(3, 2))


def _flipped(random: Random, model: bytes) -> bytes:
    spoiled = bytearray(scrambled(random, model))
    spoiled[4:8] = b"TFL3"
    return bytes(spoiled)


def _graph(random: Random, model: bytes) -> bytes:
    """Changes of any subgraph, not of the first alone."""
    return _changed(random, model, (*GRAPH_CHANGES,))


def _calls(random: Random, model: bytes) -> bytes:
    """Calls of subgraphs that there are not, or of themselves; signatures and sparsity that lead elsewhere."""
    return _changed(random, model, (_called, _signed, _sparsity, _sparsity))


def _changed(random: Random, content: bytes, ways: tuple[Callable[[Random, Any], None], ...]) -> bytes:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    for _ in range(random.choice((1, 1, 2, 3))):
        place = random.randrange(len(model.subgraphs))
        model.subgraphs[0], model.subgraphs[place] = model.subgraphs[place], model.subgraphs[0]
        random.choice(ways)(random, model)
        place = min(place, len(model.subgraphs) - 1)
        model.subgraphs[0], model.subgraphs[place] = model.subgraphs[place], model.subgraphs[0]
    return unusual_models.packed(model)


def _called(random: Random, model: Any) -> None:
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            if isinstance(operator.builtinOptions, schema.IfOptionsT):
                branch = random.choice(("thenSubgraphIndex", "elseSubgraphIndex"))
                setattr(operator.builtinOptions, branch, random.choice((0, *WILD)))


def _signed(random: Random, model: Any) -> None:
    for signature in model.signatureDefs or []:
        signature.subgraphIndex = random.choice((0, 1, 2, 3, FOUR_GIGABYTES))
        for entry in random.choice((signature.inputs, signature.outputs)):
            entry.tensorIndex = random.choice((0, 1, 6, 7, 13, 14, FOUR_GIGABYTES))


def _sparsity(random: Random, model: Any) -> None:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.sparsity is not None:
                kind = random.randrange(4)
                table = random.choice(tensor.sparsity.dimMetadata)
                if kind == 0:
                    tensor.sparsity.traversalOrder = random.choice(([], [1, 0], [0, 1, 2], [random.choice(WILD)] * 2))
                elif kind == 1:
                    tensor.sparsity.blockMap = [random.choice(WILD)]
                elif kind == 2:
                    table.format, table.denseSize = random.randrange(3), random.choice(WILD)
                elif table.arraySegments is not None:
                    array = random.choice((table.arraySegments, table.arrayIndices))
                    array.values = [random.choice(WILD) for _ in range(random.choice((0, 1, 3, 4, 100)))]


WAYS: tuple[Callable[[Random, bytes], bytes], ...] = (*(_flipped, _graph, _calls, _graph, _calls),)
