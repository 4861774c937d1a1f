"""Layers to leave in float: those that a user names, or the few whose quantization costs most (sensitivity analysis).

Noise enters where an activation is rounded, so between two layers; a single layer in float between quantized ones
keeps the rounding on both of its sides and gains nothing. So runs of neighbouring layers are tried, never single layers
far apart: first the longest runs allowed, everywhere; then ever shorter ones inside the best.

    operators -> segments between single tensors -> runs of segments -> SQNR of each in float -> a few alternatives
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from convert.errors import QuantizationError
from convert.quantization.calibrate import Calibration
from convert.quantization.evaluation import Score
from convert.quantization.gptq import round_weights
from convert.quantization.quantize import head_begins, quantize
from convert.quantization.schemes import Recipe, Scheme
from convert.system.progress import Progress
from convert.tflite.graph import TfliteGraph, layer_name

MOST_LAYERS = 0.10
"""Fraction of the layers with weights that may be left in float."""
NAMES_SHOWN = 5

Evaluate = Callable[[tuple[str, ...]], Score]


@dataclass(frozen=True)
class Segment:
    """Successive operators with one tensor before and one after them.

    `outputs` names the tensors that they compute, `layers` is how many of them have weights.
    """

    outputs: tuple[str, ...]
    layers: int


@dataclass(frozen=True)
class FloatFallback(Segment):
    """Operators to leave in float, and the score of the network with these in float."""

    score: Score


def matching_layers(float_model: bytes, pattern: str) -> tuple[str, ...]:
    """Return the outputs of the operators whose layer's name matches; raise `QuantizationError` if none does."""
    graph = TfliteGraph(float_model)
    names = [graph.tensor_name(operator.outputs[0]) for operator in graph.operators]
    found = tuple(name for name in names if re.search(pattern, layer_name(name)))
    if not found:
        some = ", ".join(dict.fromkeys(layer_name(name) for name in names[:NAMES_SHOWN]))
        raise QuantizationError(
            f"--keep-float {pattern!r} matches no layer: the {len(names)} of this network are called {some}, ..."
        )
    return found


def find_fallbacks(calibration: Calibration, scheme: Scheme, io: str, progress: Progress) -> list[FloatFallback]:
    """Search for layers whose quantization costs most, on the held-out images of a calibration.

    `scheme` is the `Scheme.fallback` of what did not pass. The first alternative is the network with no layer in float;
    each of the others has more layers in float than the one before, and a better score. Here weights are rounded by
    GPTQ alone: they are not fitted to the noise that layers in float would take away, so all are compared alike.
    """
    evaluator, exact = calibration.evaluator, calibration.equalized
    assert evaluator is not None
    spec = evaluator.spec
    rounded = round_weights(exact, calibration.pixels, spec, progress)
    graph = TfliteGraph(rounded)

    def evaluate(float_layers: tuple[str, ...]) -> Score:
        network = with_exact_layers(rounded, exact, float_layers)
        return evaluator.score(quantize(network, Recipe(scheme, io, float_layers), spec, calibration.statistics))

    improving = [FloatFallback((), 0, evaluate(()))]
    for fallback in search(segments(graph, head_begins(graph)), evaluate, progress):
        if fallback.score.sqnr_db > improving[-1].score.sqnr_db:
            improving.append(fallback)
    return improving


def with_exact_layers(rounded: bytes, exact: bytes, float_layers: Collection[str]) -> bytes:
    """Return a network with rounded weights, but exact ones in operators that compute a tensor of `float_layers`."""
    graph, source = TfliteGraph(rounded), TfliteGraph(exact)
    for operator in graph.operators:
        if graph.tensor_name(operator.outputs[0]) in float_layers:
            for tensor in operator.inputs[1:]:
                if tensor >= 0 and graph.is_constant(tensor):
                    graph.set_constant(tensor, source.constant(tensor))
    return graph.to_bytes()


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
        for start, stop in progress.track(new, f"layers in float: at most {most} tried", len(new)):
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
