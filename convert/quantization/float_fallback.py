"""Which few layers to leave in float when int8 loses too much: the sensitivity of runs of layers, coarse to fine.

Noise enters where an activation is rounded, so between two layers; a single layer in float between quantized ones
keeps the rounding on both of its sides and gains nothing. Therefore runs of neighbouring layers are tried, never
single ones far apart: first runs as long as is allowed, everywhere; then ever shorter ones inside the best.

    operators -> segments between single tensors -> runs of segments -> SQNR of each in float -> a few alternatives
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from convert.quantization.evaluation import Score
from convert.system.progress import Progress, Silent
from convert.tflite.graph import TfliteGraph

MOST_LAYERS = 0.10
"""Part of the layers with weights that may be left in float."""

Evaluate = Callable[[Sequence[str]], Score]


@dataclass(frozen=True)
class Segment:
    """Successive operators with one tensor before and one after them.

    Attributes:
        outputs: names of the tensors they compute.
        layers: how many of the operators have weights.
    """

    outputs: tuple[str, ...]
    layers: int


@dataclass(frozen=True)
class FloatFallback:
    """Layers to leave in float.

    Attributes:
        outputs: names of the tensors that their operators compute, in order of execution.
        layers: how many of them have weights.
        score: of the network with these in float, on the images it was tried on.
    """

    outputs: tuple[str, ...]
    layers: int
    score: Score


def segments(graph: TfliteGraph, until: int) -> list[Segment]:
    """Cut the first `until` operators wherever a single activation is passed on: branches stay together."""
    operators = list(graph.operators)
    last_use = {i: k for k, operator in enumerate(operators) for i in operator.inputs if graph.is_activation(i)}
    found, members, alive = [], [], set(graph.inputs)
    for k, operator in enumerate(operators[:until]):
        members.append(operator)
        alive = {i for i in alive | set(operator.outputs) if last_use.get(i, -1) > k}
        if len(alive) <= 1:
            outputs = tuple(graph.tensor_name(member.outputs[0]) for member in members)
            found.append(Segment(outputs, sum(member.has_weights for member in members)))
            members = []
    return found


def search(parts: Sequence[Segment], evaluate: Evaluate, progress: Progress | None = None) -> list[FloatFallback]:
    """Alternatives from few layers in float to as many as allowed, each the best run of its length that was tried.

    Args:
        parts: of the network that may be float.
        evaluate: names of tensors whose operators stay in float -> how the network does. Slow, and asked once for
            each run.
        progress: told of each run that is tried.

    Returns:
        Longer runs only where they are better than the shorter ones.
    """
    listener = progress or Silent()
    total = sum(part.layers for part in parts)
    most = max(1, int(total * MOST_LAYERS))
    known: dict[tuple[int, int], FloatFallback] = {}

    def tried(runs: list[tuple[int, int]]) -> list[FloatFallback]:
        new = [run for run in runs if run not in known]
        for start, stop in listener.track(new, f"trying at most {most} layers in float", len(new)):
            outputs = tuple(name for part in parts[start:stop] for name in part.outputs)
            layers = sum(part.layers for part in parts[start:stop])
            known[start, stop] = FloatFallback(outputs, layers, evaluate(outputs))
        return [known[run] for run in runs]

    allowed, best = (0, len(parts)), []
    while most >= 1:
        candidates = list(runs_within(parts, allowed, most))
        if not candidates:
            break
        results = tried(candidates)
        chosen = max(range(len(results)), key=lambda i: results[i].score.sqnr_db)
        best.append(results[chosen])
        allowed, most = candidates[chosen], min(most, results[chosen].layers) // 2
    return _better_than_shorter(best[::-1])


def runs_within(parts: Sequence[Segment], allowed: tuple[int, int], most: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of the longest runs of at most `most` layers inside `allowed`, each half a run after the last."""
    first, end = allowed
    earliest = 0.0
    before = 0
    for start in range(first, end):
        stop, layers = start, 0
        while stop < end and layers + parts[stop].layers <= most:
            layers += parts[stop].layers
            stop += 1
        if layers and before >= earliest:
            yield start, stop
            earliest = before + max(layers / 2, 1)
            if stop == end:
                return
        before += parts[start].layers


def _better_than_shorter(by_length: Sequence[FloatFallback]) -> list[FloatFallback]:
    kept: list[FloatFallback] = []
    for fallback in by_length:
        if not kept or fallback.score.sqnr_db > kept[-1].score.sqnr_db:
            kept.append(fallback)
    return kept
