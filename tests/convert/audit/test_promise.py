"""An artifact gets the name of its scheme only if the audit finds what the name says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convert.audit.promise import audited
from convert.quantization.quantize import quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import collect_statistics
from convert.tflite.graph import TfliteGraph
from tests.convert.networks import SPEC, residual_network


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_network()


def made(model: bytes, kept: tuple[str, ...] = ()) -> TfliteGraph:
    images: list[Any] = list(np.random.default_rng(0).integers(0, 256, (4, 16, 20, 3), np.uint8))
    recipe = Recipe(SCHEMES["mixed"], "uint8", kept)
    return quantize(model, recipe, SPEC, collect_statistics(model, images, SPEC)[0]).graph


def test_a_promise_that_is_held_keeps_the_name(model: bytes) -> None:
    assert audited(SCHEMES["int8"], made(model)) == (SCHEMES["int8"], None)


def test_what_stays_in_float_costs_the_name_and_is_said(model: bytes) -> None:
    graph = TfliteGraph(model)
    kept = graph.tensor_name(graph.named("CONV_2D")[2].outputs[0])
    scheme, reason = audited(SCHEMES["int8"], made(model, (kept,)))
    assert scheme == SCHEMES["mixed"]
    assert reason is not None
    assert reason.startswith("int8 is not what the audit finds, so it is named mixed: CONV_2D at ")
    assert "\n" not in reason
    assert audited(SCHEMES["mixed"], made(model, (kept,))) == (SCHEMES["mixed"], None)


def test_a_scheme_without_another_name_keeps_its_own_with_the_reason(model: bytes) -> None:
    scheme, reason = audited(SCHEMES["int16x8"], made(model))
    assert scheme == SCHEMES["int16x8"]
    assert reason == "int16x8 is not what the audit finds: integer"
