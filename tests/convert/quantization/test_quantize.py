"""Quantized networks: their ends, their head, the scales of residual streams."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from keras import layers

from convert.errors import QuantizationError
from convert.quantization import head
from convert.quantization.io_tensors import align_with_pixels, check_io_dtype, feed_pixels
from convert.quantization.quantize import QuantizedModel, quantize, residual_streams
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import collect_statistics
from convert.tflite.graph import TfliteGraph
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.tensors import encode
from tests.convert.networks import SPEC, convolution, lowered, new_image, residual_network

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def model() -> bytes:
    return residual_network()


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (12, 16, 20, 3), np.uint8))


def run(model: bytes, tensors: Array) -> Array:
    engine = Engine(model, choose_engine("litert"), 1)
    return np.stack([engine.run(tensor[np.newaxis])[0] for tensor in tensors])


def quantized(model: bytes, images: list[Pixels], io: str) -> QuantizedModel:
    return quantize(model, Recipe(SCHEMES["int8"], io), SPEC, collect_statistics(model, images, SPEC)[0])


def test_a_stream_is_what_enters_a_sum_and_is_read_by_others(model: bytes) -> None:
    graph = TfliteGraph(model)
    first, second = (operator.outputs[0] for operator in graph.named("ADD"))
    entry = graph.named("CONCATENATION")[0].outputs[0]
    assert [set(stream) for stream in residual_streams(graph)] == [{entry, first, second}]


def test_all_sums_of_a_stream_have_one_scale_and_zero_point(model: bytes, images: list[Pixels]) -> None:
    graph = TfliteGraph(quantized(model, images, "uint8").model)
    sums = [operator.outputs[0] for operator in graph.named("ADD")]
    carried = next(i for i in graph.named("ADD")[0].inputs if len(graph.consumers(i)) > 1)
    scales = {float(graph.scales(i)[0]) for i in (*sums, carried)}  # type: ignore[index]
    assert len(scales) == 1


@pytest.mark.parametrize(("io", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127)])
def test_pixels_are_fed_as_they_are(io: str, low: int, high: int, model: bytes, images: list[Pixels]) -> None:
    """Zero point 128 in place of 127.5: the half step went into the bias, and nothing is lost."""
    made = quantized(model, images, io)
    image, _ = made.io_specs
    assert (image.dtype, image.encoding) == (io, "pixels")
    assert image.scale == pytest.approx(1 / 127.5)
    assert image.zero_point == low + 128
    fed = encode(np.array([[[0, 128, 255]]], np.uint8), SPEC, image)
    assert fed.dtype == io
    assert fed.tolist() == [[[low, low + 128, high]]]


def test_the_shift_in_the_bias_is_exact(model: bytes, images: list[Pixels]) -> None:
    """With the new bias, (pixel - 128) / 127.5 gives what (pixel - 127.5) / 127.5 gave."""
    graph = TfliteGraph(model)
    assert feed_pixels(graph, SPEC, "uint8") == pytest.approx((-128 / 127.5, 127 / 127.5))
    pixels = np.stack(images)
    shifted = ((pixels.astype(np.float32) - 128) / 127.5).astype(np.float32)
    np.testing.assert_allclose(run(graph.to_bytes(), shifted), run(model, normalize(pixels, SPEC)), atol=1e-5)


def test_the_bias_moves_by_the_sum_of_the_kernel(model: bytes) -> None:
    graph = TfliteGraph(model)
    kernel, bias = (graph.constant(i).copy() for i in graph.named("CONV_2D")[0].inputs[1:3])
    feed_pixels(graph, SPEC, "uint8")
    moved = graph.constant(graph.named("CONV_2D")[0].inputs[2])
    np.testing.assert_allclose(moved - bias, 0.5 / 127.5 * kernel.sum(axis=(1, 2, 3)), rtol=1e-4, atol=1e-5)


def test_a_padded_first_convolution_is_refused_by_name() -> None:
    image = new_image()
    padded = lowered(image, layers.GlobalAveragePooling2D()(convolution(image, 4, "first")))
    with pytest.raises(QuantizationError, match=r"--io uint8 cannot represent a mean of 127.5 .* use --io float32"):
        check_io_dtype(padded, "uint8", SPEC)
    check_io_dtype(padded, "float32", SPEC)
    check_io_dtype(padded, "uint8", replace(SPEC, mean=(128.0, 128.0, 128.0)))


def test_a_mean_for_each_channel_is_refused_by_name(model: bytes) -> None:
    with pytest.raises(QuantizationError, match="--io int8 needs one mean and one std for all channels"):
        check_io_dtype(model, "int8", replace(SPEC, mean=(1.0, 2.0, 3.0)))


@pytest.mark.parametrize("io", ["uint8", "float32"])
def test_only_the_head_computes_in_float(io: str, model: bytes, images: list[Pixels]) -> None:
    graph = TfliteGraph(quantized(model, images, io).model)
    floats = [operator.name for operator in graph.operators if graph.dtype(operator.outputs[0]) == "float32"]
    moved = ["ADD"] if io == "float32" else []
    assert floats == [*moved, "DEQUANTIZE", "MEAN", "DEQUANTIZE", "FULLY_CONNECTED", "SOFTMAX"]
    assert graph.dtype(graph.inputs[0]) == io


def test_integer_ends_leave_nothing_in_float(model: bytes, images: list[Pixels]) -> None:
    graph = TfliteGraph(quantized(model, images, "int8").model)
    assert not any(graph.dtype(operator.outputs[0]).startswith("float") for operator in graph.operators)


def test_a_scheme_that_calibrates_asks_for_images(model: bytes) -> None:
    with pytest.raises(QuantizationError, match="scheme int8 needs calibration images: pass --calibration"):
        quantize(model, Recipe(SCHEMES["int8"], "uint8"), SPEC, None)


@pytest.mark.parametrize("scheme", ["float16", "dynamic", "none"])
def test_schemes_without_calibration_stay_close_to_float(scheme: str, model: bytes, images: list[Pixels]) -> None:
    made = quantize(model, Recipe(SCHEMES[scheme], "float32"), SPEC, None)
    tensors = normalize(np.stack(images), SPEC)
    assert np.mean(run(made.model, tensors).argmax(axis=1) == run(model, tensors).argmax(axis=1)) > 0.9


def test_dynamic_unpacks_the_weights_of_the_head_for_old_runtimes(
    model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runtimes up to TensorFlow 2.15 read one scale per channel as the first one for all."""
    monkeypatch.setattr(head, "FEW", 0.0)
    graph = TfliteGraph(quantize(model, Recipe(SCHEMES["dynamic"], "float32"), SPEC, None).model)
    unpacked = graph.producer(graph.named("FULLY_CONNECTED")[0].inputs[1])
    assert unpacked is not None
    assert unpacked.name == "DEQUANTIZE"
    for weights in (unpacked.inputs[0], graph.named("CONV_2D")[0].inputs[1]):
        assert graph.dtype(weights) == "int8"
        assert len(graph.scales(weights)) == graph.shape(weights)[0]  # type: ignore[arg-type]


def test_layers_can_stay_in_float_between_integer_ones(model: bytes, images: list[Pixels]) -> None:
    graph = TfliteGraph(model)
    kept = tuple(graph.tensor_name(graph.named("CONV_2D")[i].outputs[0]) for i in (2, 3))
    made = quantize(model, Recipe(SCHEMES["mixed"], "uint8", kept), SPEC, collect_statistics(model, images, SPEC)[0])
    found = TfliteGraph(made.model)
    weights = [found.dtype(operator.inputs[1]) for operator in found.named("CONV_2D")]
    assert [i for i, dtype in enumerate(weights) if dtype == "float32"] == [2, 3]
    assert set(weights) == {"int8", "float32"}


def test_float_ends_are_as_exact_as_pixels(model: bytes, images: list[Pixels]) -> None:
    """Every pixel lies on a step of the input tensor: the same integers go in, the same answers come out."""
    pixels = np.stack(images)
    fed, real = quantized(model, images, "uint8").model, quantized(model, images, "float32").model
    np.testing.assert_allclose(run(fed, pixels), run(real, normalize(pixels, SPEC)), atol=1e-6)


def test_moving_the_input_changes_nothing_in_float(model: bytes, images: list[Pixels]) -> None:
    graph = TfliteGraph(model)
    (pixel_range,) = align_with_pixels(graph, SPEC).values()
    assert pixel_range == pytest.approx((-128 / 127.5, 127 / 127.5))
    assert [operator.name for operator in graph.operators][:2] == ["ADD", "CONV_2D"]
    tensors = normalize(np.stack(images), SPEC)
    np.testing.assert_allclose(run(graph.to_bytes(), tensors), run(model, tensors), atol=1e-5)


@pytest.mark.parametrize("mean", [(128.0, 128.0, 128.0), (120.0, 127.5, 127.5)])
def test_an_input_that_gains_nothing_is_not_moved(mean: tuple[float, float, float], model: bytes) -> None:
    assert align_with_pixels(TfliteGraph(model), replace(SPEC, mean=mean)) == {}
