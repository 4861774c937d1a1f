"""The residual network in float, in every scheme, and as a sound int8 graph to damage."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from convert.quantization.quantize import quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import collect_statistics
from convert.tflite.graph import TfliteGraph
from tests.convert.audit.auditing import IMAGES
from tests.convert.networks import SPEC, residual_network


@pytest.fixture(scope="module")
def float_model() -> bytes:
    return residual_network()


@pytest.fixture(scope="module")
def of_scheme(float_model: bytes) -> Callable[[str, str], bytes]:
    """Return a function that quantizes the residual network with a scheme and an io dtype."""
    statistics = collect_statistics(float_model, IMAGES, SPEC)[0]
    return lambda scheme, io: quantize(float_model, Recipe(SCHEMES[scheme], io), SPEC, statistics).model


@pytest.fixture
def int8(of_scheme: Callable[[str, str], bytes]) -> TfliteGraph:
    """Return a sound int8 graph with a float head, to damage."""
    return TfliteGraph(of_scheme("int8", "uint8"))
