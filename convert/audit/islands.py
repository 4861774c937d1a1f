"""Float islands: what a quantized network still computes in float between its integers, and what time that takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from convert.audit.operators import ClassifiedGraph
from convert.tflite.graph import TfliteGraph, layer_name
from convert.tflite.interpreter import median_milliseconds
from convert.tflite.rewriting import GraphEditor

TIMED_RUNS = 15
NAMES_SHOWN = 3


@dataclass(frozen=True)
class FloatIsland:
    """Connected float operators before or between integer ones, see `FloatRun`; shifting the input is none.

    Attributes:
        operators: their kinds, in execution order.
        layer: name of the layer that the first belongs to.
        reads, writes: names of the tensors at its borders, on the integer side of the conversions.
        milliseconds: median time on this machine, conversions included; None if it was not measured.
    """

    operators: tuple[str, ...]
    layer: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    milliseconds: float | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FloatIsland:
        """Return an island of a report."""
        borders = tuple(value["reads"]), tuple(value["writes"])
        return cls(tuple(value["operators"]), value["layer"], *borders, value["milliseconds"])

    def to_json(self) -> dict[str, Any]:
        """Return what goes into a report."""
        return asdict(self)


def float_islands(graph: TfliteGraph) -> list[FloatIsland]:
    """Return the float islands of a network in execution order, not timed."""
    runs = ClassifiedGraph(graph).float_runs
    return [
        FloatIsland(
            tuple(operator.label for operator in run.operators),
            layer_name(run.operators[0].output),
            tuple(run.reads),
            tuple(run.writes),
        )
        for run in runs
        if run.role != "head" and not run.is_preparation
    ]


def timed(model: bytes, islands: Iterable[FloatIsland]) -> list[FloatIsland]:
    """Return islands of a model with their times: each is cut out, with its conversions, and run by itself."""
    return [
        replace(island, milliseconds=round(median_milliseconds(_cut_out(model, island), TIMED_RUNS), 3))
        for island in islands
    ]


def island_lines(islands: Iterable[FloatIsland]) -> list[str]:
    """Word islands for users, one line for all that have the same operators."""
    alike = defaultdict[tuple[str, ...], list[FloatIsland]](list)
    for island in islands:
        alike[tuple(dict.fromkeys(island.operators))].append(island)
    return [_line(kinds, members) for kinds, members in alike.items()]


def _line(kinds: tuple[str, ...], members: list[FloatIsland]) -> str:
    names = list(dict.fromkeys(member.layer for member in members))
    shown = ", ".join(names[:NAMES_SHOWN])
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    times = [member.milliseconds for member in members if member.milliseconds is not None]
    cost = f": {sum(times):,.2f} ms an image" if times else ""
    return f"{', '.join(kinds)} at {shown}{more}{cost}"


def _cut_out(model: bytes, island: FloatIsland) -> bytes:
    """Return the island as a model of its own, that begins and ends in integers as it does in the network."""
    graph = GraphEditor(model)
    index_of = {graph.tensor_name(i): i for i in graph.tensors}
    graph.cut_out([index_of[name] for name in island.reads], [index_of[name] for name in island.writes])
    return graph.to_bytes()
