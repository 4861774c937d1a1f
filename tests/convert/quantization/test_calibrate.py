"""Calibration: on unusual images, and the choice of a calibrator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import convert.quantization.calibrate
from convert.errors import QuantizationError
from convert.images.dataset import ImageSet, manifest_sha256
from convert.quantization.calibrate import Calibration, CalibrationOptions, calibrate, choose_calibrator
from convert.quantization.calibrators import AUTO, CALIBRATORS, DEFAULT
from convert.quantization.evaluation import Evaluator, Score
from convert.quantization.quantize import quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.system.progress import Silent
from convert.tflite.graph import TfliteGraph
from edge_runtime.engines import Engine, choose_engine
from tests.convert.listeners import Listener
from tests.convert.networks import SPEC, residual_network
from tests.convert.pictures import black, noise, pictures


def calibrated(images: ImageSet, calibrator: str = DEFAULT, model: bytes | None = None, **options: bool) -> Calibration:
    return calibrate(
        model or residual_network(), SPEC, images, None, CalibrationOptions(calibrator, **options), Listener()
    )


@pytest.mark.parametrize("calibrator", CALIBRATORS)
@pytest.mark.parametrize(("count", "draw"), [(1, noise), (5, black)])
def test_one_image_or_only_black_ones_make_a_valid_model(
    calibrator: str, count: int, draw: Callable[[np.random.Generator], np.ndarray], tmp_path: Path
) -> None:
    found = calibrated(pictures(tmp_path / "images", count, draw), calibrator)
    quantized = quantize(found.rounded, Recipe(SCHEMES["int8"], "uint8"), SPEC, found.statistics)
    graph = TfliteGraph(quantized.model)
    scales = np.concatenate([s for i in graph.tensors if (s := graph.scales(i)) is not None])
    assert np.isfinite(scales).all()
    assert (scales > 0).all()
    assert (scales < 1e6).all()
    input_tensor, _ = quantized.io_specs
    probabilities = Engine(quantized.model, choose_engine("litert"), 1).run(
        np.zeros((1, 16, 20, 3), input_tensor.dtype)
    )
    assert np.isclose(probabilities.sum(), 1, atol=1e-5)


def test_a_channel_that_is_always_zero_makes_a_valid_model(tmp_path: Path) -> None:
    graph = TfliteGraph(residual_network())
    first = graph.named("CONV_2D")[0]
    kernel, bias = graph.constant(first.inputs[1]).copy(), graph.constant(first.inputs[2]).copy()
    kernel[2], bias[2] = 0, 0
    graph.set_constant(first.inputs[1], kernel)
    graph.set_constant(first.inputs[2], bias)
    images = pictures(tmp_path / "images", 8, noise)
    found = calibrated(images, model=graph.to_bytes())
    quantized = quantize(found.rounded, Recipe(SCHEMES["int8"], "uint8"), SPEC, found.statistics)
    scales = TfliteGraph(quantized.model).scales(TfliteGraph(quantized.model).named("CONV_2D")[0].inputs[1])
    assert scales is not None
    assert (scales > 0).all()
    assert Evaluator.from_float_model(graph.to_bytes(), found.pixels, SPEC).score(quantized).sqnr_db > 10


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_is_not_finite_is_refused(value: float, tmp_path: Path) -> None:
    graph = TfliteGraph(residual_network())
    bias = graph.named("CONV_2D")[2].inputs[2]
    broken = graph.constant(bias).copy()
    broken[0] = value
    graph.set_constant(bias, broken)
    with pytest.raises(QuantizationError, match="network or its preprocessing is broken"):
        calibrated(pictures(tmp_path / "images", 3, noise), model=graph.to_bytes())


def test_calibration_stops_when_ranges_have_converged(tmp_path: Path) -> None:
    """The same picture again and again adds nothing after the sixteenth."""
    images = pictures(tmp_path / "images", 40, black)
    found = calibrated(images, until_enough=True)
    assert found.statistics.images == len(found.pixels) == 16
    assert calibrated(images).statistics.images == 40
    assert found.manifest_sha256 != calibrated(images).manifest_sha256


@pytest.mark.parametrize(("count", "used", "read"), [(40, 16, 17), (12, 11, 12)])
def test_an_unreadable_image_is_named_and_is_no_sign_of_convergence(
    count: int, used: int, read: int, tmp_path: Path
) -> None:
    images, progress = pictures(tmp_path / "images", count, black), Listener()
    images.paths[3].write_bytes(b"no image")
    options = CalibrationOptions(until_enough=True)
    found = calibrate(residual_network(), SPEC, images, None, options, progress)
    assert found.statistics.images == len(found.pixels) == used
    assert found.manifest_sha256 == manifest_sha256(images[:read])
    assert any(note.startswith("skipped: ") for note in progress.notes)
    assert any("converged" in note for note in progress.notes) == (read < count)


def test_auto_takes_a_calibrator_and_says_what_each_did(tmp_path: Path) -> None:
    images, progress = pictures(tmp_path / "images", 30, noise), Listener()
    found = calibrate(residual_network(), SPEC, images[:20], images[-10:], CalibrationOptions(AUTO), progress)
    assert set(found.tried) == set(CALIBRATORS)
    assert found.calibrator in CALIBRATORS
    assert found.statistics.images == 20
    assert found.evaluator is not None
    assert len(found.evaluator.images) == 10
    assert progress.notes[-1].startswith(f"calibrator {found.calibrator}, of minmax ")


def score(*image_sqnr_db: float) -> Score:
    return Score(np.array(image_sqnr_db), 1.0)


def test_another_calibrator_is_chosen_only_where_it_is_better_than_by_chance() -> None:
    usual = score(20, 25, 30)
    assert choose_calibrator({DEFAULT: usual, "minmax": score(20, 35, 22)}) == DEFAULT
    assert (
        choose_calibrator({DEFAULT: usual, "minmax": score(22, 27, 32.1), "entropy": score(21, 26, 31.1)}) == "minmax"
    )


def test_what_each_image_shows_once_is_not_clipped(tmp_path: Path) -> None:
    images, model = pictures(tmp_path / "images", 12, noise), residual_network()
    calibrated = calibrate(model, SPEC, images, None, CalibrationOptions("percentile"), Silent())
    everything = calibrate(model, SPEC, images, None, CalibrationOptions("minmax"), Silent()).statistics
    graph = TfliteGraph(calibrated.equalized)
    pooled = {graph.tensor_name(i) for i in graph.activations if all(side == 1 for side in graph.shape(i)[1:-1])}
    clipped = {
        name for name, high in everything.maximum.items() if calibrated.statistics.maximum[name].max() < high.max()
    }
    assert pooled
    assert clipped
    assert not pooled & clipped


def test_of_many_images_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert.quantization.calibrate, "MOST_KEPT", 5)
    images = pictures(tmp_path / "images", 12, noise)
    found = calibrated(images)
    assert (len(found.pixels), found.statistics.images) == (5, 12)
    first = calibrated(images[:5])
    assert all(map(np.array_equal, found.pixels, first.pixels))
    quantized = found.quantize(Recipe(SCHEMES["int8"], "float32"), SPEC)
    assert found.correct_head(quantized, SPEC).model != quantized.model
