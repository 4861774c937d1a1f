"""Sensitivity analysis: the few layers to leave in float when int8 loses too much.

Noise enters where an activation is rounded, so between two layers; a single layer in float between quantized ones
keeps the rounding on both of its sides and gains nothing. So runs of neighbouring layers are tried, never single layers
far apart: first the longest runs allowed, everywhere; then ever shorter ones inside the best.

    operators -> segments between single tensors -> runs of segments -> SQNR of each in float -> a few alternatives
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from convert.quantization.calibrate import Calibration
from convert.quantization.evaluation import Score
from convert.quantization.quantize import head_begins, quantize
from convert.quantization.schemes import Recipe, Scheme
from convert.system.progress import Progress
from convert.tflite.graph import TfliteGraph

MOST_LAYERS = 0.10
"""Fraction of the layers with weights that may be left in float."""

Evaluate = Callable[[tuple[str, ...]], Score]


@dataclass(frozen=True)
class Segment:
    """Successive operators with one tensor before and one after them.

    Attributes:
        outputs: names of the tensors that they compute.
        layers: how many of the operators have weights.
    """

    outputs: tuple[str, ...]
    layers: int


@dataclass(frozen=True)
class FloatFallback(Segment):
    """Operators to leave in float, and the score of the network with these in float."""

    score: Score


def find_fallbacks(calibration: Calibration, scheme: Scheme, io: str, progress: Progress) -> list[FloatFallback]:
    """Search for layers whose quantization costs most, on the held-out images of a calibration.

    `scheme` has `keeps_layers`: it is the `Scheme.fallback` of what did not pass.

    Returns:
        First the network with no layer in float, then ever more layers, each time with a better score.
    """
    evaluator, graph = calibration.evaluator, TfliteGraph(calibration.rounded)
    assert evaluator is not None

    def evaluate(float_layers: tuple[str, ...]) -> Score:
        recipe, network = Recipe(scheme, io, float_layers), calibration.network(float_layers)
        return evaluator.score(quantize(network, recipe, evaluator.spec, calibration.statistics))

    improving = [FloatFallback((), 0, evaluate(()))]
    for fallback in search(segments(graph, head_begins(graph)), evaluate, progress):
        if fallback.score.sqnr_db > improving[-1].score.sqnr_db:
            improving.append(fallback)
    return improving


def segments(graph: TfliteGraph, until: int) -> list[Segment]:
    """Cut the first `until` operators wherever a single activation is alive, so that branches stay together."""
    found, members, alive = [], [], set(graph.inputs)
    for operator in graph.operators[:until]:
        members.append(operator)
        readers = {i: graph.consumers(i) for i in alive | set(operator.outputs)}
        alive = {i for i in readers if readers[i] and readers[i][-1].position > operator.position}
        if len(alive) <= 1:
            outputs = tuple(graph.tensor_name(member.outputs[0]) for member in members)
            found.append(Segment(outputs, sum(member.has_weights for member in members)))
            members = []
    return found


def search(parts: Sequence[Segment], evaluate: Evaluate, progress: Progress) -> list[FloatFallback]:
    """Return alternatives from few layers in float to as many as allowed, each the best run tried of its length.

    `evaluate` scores the network with the operators of some tensors in float; slow, it is called once for each run.
    """
    most = max(1, int(sum(part.layers for part in parts) * MOST_LAYERS))
    known: dict[tuple[int, int], FloatFallback] = {}
    allowed, best = (0, len(parts)), []
    while candidates := list(runs_within(parts, allowed, most)):
        new = [run for run in candidates if run not in known]
        for start, stop in progress.track(new, f"trying at most {most} layers in float", len(new)):
            outputs = tuple(name for part in parts[start:stop] for name in part.outputs)
            layers = sum(part.layers for part in parts[start:stop])
            known[start, stop] = FloatFallback(outputs, layers, evaluate(outputs))
        allowed = max(candidates, key=lambda run: known[run].score.sqnr_db)
        best.append(known[allowed])
        most = min(most, known[allowed].layers) // 2
    return best[::-1]


def runs_within(parts: Sequence[Segment], allowed: tuple[int, int], most: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the longest runs of at most `most` layers inside `allowed`, half a run apart."""
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
