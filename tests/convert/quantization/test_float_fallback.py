"""The search for layers to leave in float, on networks whose noise is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from convert.quantization.calibrate import CalibrationOptions, calibrate
from convert.quantization.evaluation import Score
from convert.quantization.float_fallback import (
    MOST_LAYERS,
    Segment,
    find_fallbacks,
    runs_within,
    search,
    segments,
    with_exact_layers,
)
from convert.quantization.quantize import head_begins
from convert.quantization.reconstruction import reconstruct
from convert.quantization.schemes import SCHEMES
from convert.system.progress import Silent
from convert.tflite.graph import TfliteGraph
from tests.convert.listeners import Listener
from tests.convert.networks import SPEC, residual_network
from tests.convert.pictures import noise, pictures


def chain(*layers: int) -> list[Segment]:
    return [Segment((f"layer{i}",), count) for i, count in enumerate(layers)]


def score(sqnr_db: float) -> Score:
    return Score(np.array([sqnr_db]), 1.0)


def evaluate(noise: Sequence[float]) -> tuple[object, list[tuple[str, ...]]]:
    """A network with `noise[i]` between layer i and the next: gone when both are float."""
    asked: list[tuple[str, ...]] = []

    def ask(outputs: Sequence[str]) -> Score:
        asked.append(tuple(outputs))
        kept = [f"layer{i}" in outputs for i in range(len(noise) + 1)]
        left = sum(n for i, n in enumerate(noise) if not (kept[i] and kept[i + 1]))
        return score(-10 * float(np.log10(left + 1e-3)))

    return ask, asked


def test_segments_end_where_one_tensor_is_passed_on() -> None:
    """A fork with a pool and its concatenation are one segment; so is a residual block."""
    graph = TfliteGraph(residual_network())
    found = segments(graph, head_begins(graph))
    assert [segment.layers for segment in found] == [1, 1, 3, 3, 1]
    names = [name for segment in found for name in segment.outputs]
    assert names == [graph.tensor_name(operator.outputs[0]) for operator in graph.operators][: head_begins(graph)]


def test_the_noisy_run_is_found_and_shorter_ones_inside_it() -> None:
    noise = [0.01] * 99
    noise[40:44] = [1.0] * 4
    ask, asked = evaluate(noise)
    found = search(chain(*[1] * 100), ask, Silent())  # type: ignore[arg-type]
    assert [fallback.layers for fallback in found] == sorted(fallback.layers for fallback in found)
    assert found[-1].layers == MOST_LAYERS * 100
    assert {"layer40", "layer41", "layer42", "layer43", "layer44"} <= set(found[-1].outputs)
    assert len(asked) == len(set(asked))
    assert len(asked) < 40


def test_no_more_layers_than_allowed() -> None:
    ask, asked = evaluate([1.0] * 49)
    search(chain(*[1] * 50), ask, Silent())  # type: ignore[arg-type]
    assert max(len(outputs) for outputs in asked) == 5


def test_a_small_network_may_keep_one_layer() -> None:
    ask, asked = evaluate([1.0, 1.0])
    found = search(chain(1, 1, 1), ask, Silent())  # type: ignore[arg-type]
    assert [fallback.layers for fallback in found] == [1]
    assert len(asked) == 3


def test_a_segment_larger_than_allowed_is_left_alone() -> None:
    ask, _ = evaluate([1.0, 1.0])
    assert search(chain(4, 4, 4), ask, Silent()) == []  # type: ignore[arg-type]


@given(
    layers=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    most=st.integers(1, 12),
)
def test_runs_are_as_long_as_allowed(layers: list[int], most: int) -> None:
    parts = chain(*layers)
    for start, stop in runs_within(parts, (0, len(parts)), most):
        inside = sum(layers[start:stop])
        assert 0 < inside <= most
        assert stop == len(parts) or inside + layers[stop] > most


def test_progress_reaches_its_end() -> None:
    listener = Listener()
    ask, asked = evaluate([1.0] * 49)
    search(chain(*[1] * 50), ask, listener)  # type: ignore[arg-type]
    assert len(listener.counts) == len(asked)
    assert sum(done == total for done, total in listener.counts) > 1, "a stage for each length of run"
    assert listener.counts[-1][0] == listener.counts[-1][1]


def test_fallbacks_start_with_none_in_float_and_improve_on_it(tmp_path: Path) -> None:
    images = pictures(tmp_path / "images", 12, noise)
    calibration = calibrate(residual_network(), SPEC, images, images, CalibrationOptions(), Silent())
    none, *found = find_fallbacks(calibration, SCHEMES["mixed"], "uint8", Silent())
    assert (none.outputs, none.layers) == ((), 0)
    assert [fallback.layers for fallback in found] == [1], "a tenth of its layers, and at least one"
    assert all(fallback.score.sqnr_db > none.score.sqnr_db for fallback in found)


def test_layers_in_float_keep_their_exact_weights(tmp_path: Path) -> None:
    images = pictures(tmp_path / "images", 2, noise)
    calibration = calibrate(residual_network(), SPEC, images, None, CalibrationOptions(), Silent())
    equalized, rounded = TfliteGraph(calibration.equalized), TfliteGraph(calibration.rounded)
    convolutions = equalized.named("CONV_2D")
    kept = equalized.tensor_name(convolutions[1].outputs[0])
    mixed = TfliteGraph(with_exact_layers(calibration.rounded, calibration.equalized, [kept]))
    for i, operator in enumerate(convolutions):
        source = equalized if i == 1 else rounded
        assert np.array_equal(mixed.constant(operator.weights), source.constant(operator.weights))


def test_what_reads_a_layer_in_float_is_fitted_to_what_it_reads_then(tmp_path: Path) -> None:
    images = pictures(tmp_path / "images", 8, noise)
    calibration = calibrate(residual_network(), SPEC, images, None, CalibrationOptions(), Silent())
    graph = TfliteGraph(calibration.equalized)
    first, *others = graph.named("CONV_2D")
    kept = (graph.tensor_name(first.outputs[0]),)
    model = reconstruct(calibration.equalized, calibration.statistics, calibration.pixels, SPEC, Silent(), kept)
    fitted, before = TfliteGraph(model), TfliteGraph(calibration.rounded)
    assert np.array_equal(fitted.constant(first.weights), graph.constant(first.weights))
    assert any(not np.array_equal(fitted.constant(o.bias), before.constant(o.bias)) for o in others)
