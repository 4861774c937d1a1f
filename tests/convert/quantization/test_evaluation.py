"""Judging a quantized network on held-out images."""

from __future__ import annotations

import numpy as np
import pytest

from convert.quantization.evaluation import MOST_DB, Evaluator, Score
from convert.quantization.quantize import QuantizedModel, quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import collect_statistics
from edge_runtime.preprocess import Pixels
from tests.convert.networks import SPEC, residual_network


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_network()


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (9, 16, 20, 3), np.uint8))


def test_the_float_network_equals_itself(model: bytes, images: list[Pixels]) -> None:
    score = Evaluator.from_float_model(model, images, SPEC).score(QuantizedModel(model, "normalized"))
    assert score.image_sqnr_db.tolist() == [MOST_DB] * 9
    assert score.milliseconds > 0


@pytest.mark.parametrize("io", ["uint8", "int8", "float32"])
def test_int8_is_measured_whatever_its_ends(io: str, model: bytes, images: list[Pixels]) -> None:
    quantized = quantize(model, Recipe(SCHEMES["int8"], io), SPEC, collect_statistics(model, images, SPEC)[0])
    assert 5 < Evaluator.from_float_model(model, images, SPEC).score(quantized).sqnr_db < 60


def score(*image_sqnr_db: float) -> Score:
    return Score(np.array(image_sqnr_db), 1.0)


def test_better_is_more_than_twice_the_standard_error() -> None:
    """Gains of 1, 2, 3: mean 2, standard deviation 1, standard error 0.58. Of 0, 2, 4: 1.15."""
    assert score(21, 22, 23).is_better_than(score(20, 20, 20))
    assert not score(20, 22, 24).is_better_than(score(20, 20, 20))
    assert not score(20, 20, 20).is_better_than(score(21, 22, 23))


def test_a_single_image_proves_nothing() -> None:
    assert not score(40).is_better_than(score(10))
