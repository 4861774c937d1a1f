"""Translated networks of every family keep their answers in every scheme, and run."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.images.dataset import find_images
from convert.lowering.translate import translate
from convert.quantization.calibrate import Calibration, CalibrationOptions, calibrate
from convert.quantization.dense_layers import dense_as_convolutions
from convert.quantization.evaluation import Evaluator
from convert.quantization.quantize import head_begins, quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.system.progress import Silent
from convert.tflite.graph import TfliteGraph
from edge_runtime.preprocess import Pixels
from tests.convert.lowering.translation.families import CLASSES, FAMILIES, SIZE, SPEC, family

LEAST_SQNR_DB = {"none": 59, "float16": 40, "dynamic": 20, "int8": 18, "mixed": 18, "int16x8": 30}


def pictures(count: int, seed: int) -> list[Pixels]:
    """Blobs of colour, smooth as photographs are."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, 5, 5, 3), np.uint8)
    return [np.asarray(Image.fromarray(each).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for each in small]


@functools.cache
def translated(name: str) -> bytes:
    return translate(family(name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i, pixels in enumerate(pictures(16, 1)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@functools.cache
def calibrated(name: str, folder: Path) -> Calibration:
    return calibrate(translated(name), SPEC, find_images(folder), None, CalibrationOptions(), Silent())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_answers_survive(name: str, scheme: str, folder: Path) -> None:
    recipe = Recipe(SCHEMES[scheme], "float32")
    if recipe.scheme.calibrates:
        quantized = calibrated(name, folder).quantize(recipe, SPEC)
    else:
        quantized = quantize(translated(name), recipe, SPEC, None)
    evaluator = Evaluator.from_float_model(translated(name), pictures(8, 2), SPEC)
    assert evaluator.probabilities.shape == (8, CLASSES)
    assert evaluator.probabilities.std(axis=0).max() > 1e-3, "all pictures look alike"
    assert evaluator.score(quantized).sqnr_db > LEAST_SQNR_DB[scheme]


@pytest.mark.parametrize("name", FAMILIES)
def test_everything_before_the_head_is_in_integers(name: str, folder: Path) -> None:
    quantized = calibrated(name, folder).quantize(Recipe(SCHEMES["int8"], "float32"), SPEC)
    graph = TfliteGraph(quantized.model)
    floats = {op.name for op in graph.operators[: head_begins(graph)] if graph.dtype(op.outputs[0]) == "float32"}
    assert floats - {"DEQUANTIZE", "QUANTIZE"} <= {"ADD"}  # of the pixels' half step


@pytest.mark.parametrize("name", FAMILIES)
def test_equalization_changes_no_answer(name: str, folder: Path) -> None:
    evaluator = Evaluator.from_float_model(translated(name), pictures(8, 2), SPEC)
    equalized = Evaluator.from_float_model(calibrated(name, folder).equalized, pictures(8, 2), SPEC)
    np.testing.assert_allclose(equalized.probabilities, evaluator.probabilities, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "expected"), [("vgg", "FULLY_CONNECTED"), ("mobile_net", "MEAN"), ("mobile_net_v3", "FULLY_CONNECTED")]
)
def test_the_head_begins_behind_the_last_image(name: str, expected: str) -> None:
    graph = TfliteGraph(dense_as_convolutions(translated(name)))
    head = [operator.name for operator in graph.operators[head_begins(graph) :]]
    assert head[0] == expected
    assert head.count("MEAN") <= 1
