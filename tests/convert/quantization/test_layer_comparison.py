"""Layer by layer: quantized beside float, on networks whose loss is known."""

from __future__ import annotations

import numpy as np
import pytest

from convert.quantization.layer_comparison import LayerError, compare_layers
from convert.quantization.quantize import QuantizedModel, quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import ActivationStatistics, collect_statistics
from convert.tflite.graph import TfliteGraph
from edge_runtime.preprocess import Pixels
from tests.convert.networks import SPEC, residual_network


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_network()


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (6, 16, 20, 3), np.uint8))


@pytest.fixture(scope="module")
def statistics(model: bytes, images: list[Pixels]) -> ActivationStatistics:
    return collect_statistics(model, images, SPEC)[0]


@pytest.fixture(scope="module")
def layers(model: bytes, images: list[Pixels], statistics: ActivationStatistics) -> list[LayerError]:
    return compare_layers(model, quantize(model, Recipe(SCHEMES["int8"], "uint8"), SPEC, statistics), SPEC, images)


def test_every_operator_of_the_float_network_has_its_row_in_order(layers: list[LayerError], model: bytes) -> None:
    assert [layer.operator for layer in layers] == [operator.name for operator in TfliteGraph(model).operators]
    assert [layer.dtype for layer in layers[-3:]] == ["float32"] * 3
    assert {layer.dtype for layer in layers[:-3]} == {"int8"}


def test_noise_adds_up_along_the_depth(layers: list[LayerError]) -> None:
    """8 bits keep about 40 dB of the first convolution; ten roundings later there is less."""
    first, last = layers[0].to_json(), layers[-4].to_json()
    assert 30 < first["sqnr_db"] < 60
    assert last["sqnr_db"] < first["sqnr_db"]


def test_on_the_images_calibrated_with_ranges_are_used_and_nothing_saturates(layers: list[LayerError]) -> None:
    assert layers[0].to_json()["range_use"] > 0.98
    assert all(layer.to_json()["saturation"] == 0 for layer in layers if layer.dtype == "int8")
    assert all(layer.to_json()["saturation"] is None for layer in layers if layer.dtype == "float32")


def test_what_a_narrow_range_clips_is_counted(
    model: bytes, images: list[Pixels], statistics: ActivationStatistics
) -> None:
    """Half the range of the first convolution: its share of values above is known from float."""
    graph = TfliteGraph(model)
    first = graph.tensor_name(graph.named("CONV_2D")[0].outputs[0])
    everything = {
        name: (float(low.min()), float(statistics.maximum[name].max())) for name, low in statistics.minimum.items()
    }
    narrow = statistics.clipped({**everything, first: (0.0, everything[first][1] / 2)})
    found = compare_layers(model, quantize(model, Recipe(SCHEMES["int8"], "uint8"), SPEC, narrow), SPEC, images)[0]
    assert 0 < found.clipped < found.values
    assert found.to_json()["range_use"] == 1.0
    assert found.sqnr_db is not None
    assert found.sqnr_db < 30


@pytest.mark.parametrize("position", [0, 1, 3])
def test_the_layer_that_is_planted_bad_is_the_noisiest_by_itself(
    model: bytes, images: list[Pixels], statistics: ActivationStatistics, position: int
) -> None:
    """Weights that are wrong by a quarter: later layers inherit the noise, and add none of their own."""
    graph = TfliteGraph(model)
    planted = graph.named("CONV_2D")[position]
    weights = graph.constant(planted.weights)
    error = np.random.default_rng(1).normal(0, 0.25 * weights.std(), weights.shape).astype(np.float32)
    graph.set_constant(planted.weights, weights + error)
    wrong = quantize(graph.to_bytes(), Recipe(SCHEMES["int8"], "uint8"), SPEC, statistics)
    found = compare_layers(model, wrong, SPEC, images)
    noisiest = min(
        (layer for layer in found if layer.own_sqnr_db is not None), key=lambda layer: layer.own_sqnr_db or 0
    )
    assert noisiest is found[planted.position]
    assert (found[-4].sqnr_db or 99) < (found[-4].own_sqnr_db or 99) - 6, "what is inherited is told apart"


def test_of_the_first_layer_all_noise_is_its_own(layers: list[LayerError]) -> None:
    assert layers[0].own_noise == pytest.approx(layers[0].noise, rel=0.05)
    assert all(layer.own_noise <= layer.noise * 1.5 for layer in layers if layer.dtype == "int8")


def test_a_network_beside_itself_has_no_noise(model: bytes, images: list[Pixels]) -> None:
    same = compare_layers(model, QuantizedModel(model, "normalized"), SPEC, images)
    assert all(layer.noise == 0 and layer.to_json()["sqnr_db"] is None for layer in same)
    assert all(layer.own_noise <= 1e-9 * layer.signal for layer in same)
