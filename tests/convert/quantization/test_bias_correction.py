"""Bias correction against NumPy: what rounding shifts on average is shifted back, whatever the convolution."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from keras import layers

from convert.quantization.bias_correction import correct_head, correct_weight_rounding, output_shift
from convert.quantization.quantize import QuantizedModel, quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import ActivationStatistics, collect_statistics
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, logits_tensor
from edge_runtime import InputSpec
from edge_runtime.preprocess import Pixels
from edge_runtime.tensors import encode

Array = npt.NDArray[Any]
SPEC = InputSpec(12, 12, mean=(127.5,) * 3, std=(127.5,) * 3)
random = np.random.default_rng(0)


def convolved(image: Array, weights: Array, groups: int = 1) -> Array:
    """Valid convolution of (h, w, in) with (out, kh, kw, in / groups), by its definition."""
    outputs, kernel_height, kernel_width, per_group = weights.shape
    height, width = image.shape[0] - kernel_height + 1, image.shape[1] - kernel_width + 1
    result = np.zeros((height, width, outputs))
    for o in range(outputs):
        first = o // (outputs // groups) * per_group
        for y in range(height):
            for x in range(width):
                window = image[y : y + kernel_height, x : x + kernel_width, first : first + per_group]
                result[y, x, o] = (window * weights[o]).sum()
    return result


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_a_constant_image_is_shifted_by_exactly_the_output_shift(groups: int) -> None:
    """Where every pixel is the mean, the mean change of an output is its change."""
    mean, error = random.uniform(0, 2, 6), random.normal(0, 0.01, (12, 3, 2, 6 // groups))
    image = np.broadcast_to(mean, (5, 5, 6))
    change = convolved(image, error, groups)
    assert np.allclose(change, output_shift(error, mean, "CONV_2D"))


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_outputs_belong_to_the_channel_they_read(multiplier: int) -> None:
    mean, error = random.uniform(0, 2, 4), random.normal(0, 0.01, (1, 3, 3, 4 * multiplier))
    image = np.broadcast_to(mean, (5, 5, 4))
    per_output = error[0].transpose(2, 0, 1)[..., np.newaxis]  # a group a channel: (out, kh, kw, 1)
    assert np.allclose(convolved(image, per_output, groups=4), output_shift(error, mean, "DEPTHWISE_CONV_2D"))


def test_fully_connected_outputs_are_products() -> None:
    mean, error = random.uniform(0, 2, 5), random.normal(0, 0.01, (7, 5))
    assert np.allclose(output_shift(error, mean, "FULLY_CONNECTED"), error @ mean)


def test_the_mean_change_of_a_random_image_is_the_output_shift() -> None:
    """Without padding and far from the border every weight sees every pixel."""
    image, error = random.uniform(0, 2, (60, 60, 3)), random.normal(0, 0.01, (4, 2, 2, 3))
    change = convolved(image, error).mean(axis=(0, 1))
    assert np.allclose(change, output_shift(error, image.mean(axis=(0, 1)), "CONV_2D"), atol=5e-4)


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    """Bright pictures of coarse tiles: inputs whose mean is far from zero."""
    tiles = np.random.default_rng(1).integers(60, 256, (12, 4, 4, 3), np.uint8)
    return list(tiles.repeat(3, axis=1).repeat(3, axis=2))


@pytest.fixture(scope="module", params=["plain", "grouped", "depthwise"])
def float_model(request: pytest.FixtureRequest) -> bytes:
    """A convolution of each kind between two others, then the head."""
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), batch_size=1)
    x = layers.Conv2D(8, 3, activation="relu")(image)
    middle = {
        "plain": layers.Conv2D(12, 3, activation="relu"),
        "grouped": layers.Conv2D(12, 3, groups=4, activation="relu"),
        "depthwise": layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
    }
    x = layers.Conv2D(6, 1, activation="relu")(middle[request.param](x))
    x = layers.Dense(4, bias_initializer="normal")(layers.GlobalAveragePooling2D()(x))
    network = keras.Model(image, layers.Softmax()(x))
    return bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())


@pytest.fixture(scope="module")
def statistics(float_model: bytes, images: list[Pixels]) -> ActivationStatistics:
    return collect_statistics(float_model, images, SPEC)[0]


@pytest.fixture(scope="module")
def corrected(float_model: bytes, statistics: ActivationStatistics) -> bytes:
    return quantize(float_model, Recipe(SCHEMES["int8"], "uint8"), SPEC, statistics).model


@pytest.fixture(scope="module")
def uncorrected(float_model: bytes, statistics: ActivationStatistics) -> bytes:
    """The same without bias correction."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convert.quantization.quantize.correct_weight_rounding", lambda *_: None)
        return quantize(float_model, Recipe(SCHEMES["int8"], "uint8"), SPEC, statistics).model


def weighted(graph: TfliteGraph) -> list[Any]:
    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D")
    return [operator for operator in graph.operators if operator.name in kinds]


@pytest.mark.parametrize(("scheme", "bias_dtype"), [("int8", "int32"), ("int16x8", "int64")])
def test_biases_move_by_the_rounding_errors_times_the_means(
    float_model: bytes, statistics: ActivationStatistics, scheme: str, bias_dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(SCHEMES[scheme], SCHEMES[scheme].io)
    corrected = quantize(float_model, recipe, SPEC, statistics).model
    monkeypatch.setattr("convert.quantization.quantize.correct_weight_rounding", lambda *_: None)
    uncorrected = quantize(float_model, recipe, SPEC, statistics).model
    floats, before, after = (TfliteGraph(model) for model in (float_model, uncorrected, corrected))
    moved = 0
    for source, old, new in zip(weighted(floats), weighted(before), weighted(after), strict=True):
        assert np.array_equal(before.constant(old.inputs[1]), after.constant(new.inputs[1])), "weights stay"
        mean = statistics.mean[floats.tensor_name(source.inputs[0])]
        scales, integers = after.scales(new.inputs[1]), after.constant(new.inputs[1])
        assert scales is not None
        axis = (1, 1, 1, -1) if source.name == "DEPTHWISE_CONV_2D" else (-1, 1, 1, 1)
        error = integers * np.float64(scales).reshape(axis) - floats.constant(source.inputs[1])
        if source.name == "DEPTHWISE_CONV_2D":
            shift = np.einsum("hwo,o->o", error[0], np.repeat(mean, error.shape[-1] // len(mean)))
        else:
            groups = len(mean) // error.shape[-1]
            rows = np.split(error.sum(axis=(1, 2)), groups)
            shift = np.concatenate([part @ m for part, m in zip(rows, np.split(mean, groups), strict=True)])
        assert after.dtype(new.inputs[2]) == bias_dtype
        bias_scales = after.scales(new.inputs[2])
        assert bias_scales is not None
        step = after.constant(new.inputs[2]) - before.constant(old.inputs[2])
        assert np.allclose(step, np.rint(-shift / bias_scales), rtol=1e-6, atol=1)
        moved += np.count_nonzero(step)
    assert moved > 10, "corrections are larger than the step of a bias"


def mean_logit_error(model: bytes, images: list[Pixels], wanted: Array) -> Array:
    input_tensor = QuantizedModel(model, "pixels").io_specs[0]
    engine, logits = RecordingEngine(model), logits_tensor(TfliteGraph(model))
    rows = []
    for pixels in images:
        engine.run(encode(pixels, SPEC, input_tensor)[np.newaxis])
        rows.append(engine.tensor(logits)[0])
    return np.asarray(np.mean(np.stack(rows) - wanted, axis=0))


def test_correction_brings_the_outputs_of_the_last_convolution_nearer(
    float_model: bytes, statistics: ActivationStatistics, corrected: bytes, uncorrected: bytes, images: list[Pixels]
) -> None:
    wanted = statistics.mean[TfliteGraph(float_model).tensor_name(weighted(TfliteGraph(float_model))[-1].outputs[0])]
    errors = []
    for model in (uncorrected, corrected):
        graph, engine = TfliteGraph(model), RecordingEngine(model)
        (output,) = weighted(graph)[-1].outputs
        scale, zero_point = graph.scales(output), graph.zero_points(output)
        assert scale is not None
        assert zero_point is not None
        sums = np.zeros(len(wanted))
        for pixels in images:
            engine.run(encode(pixels, SPEC, QuantizedModel(model, "pixels").io_specs[0])[np.newaxis])
            sums += ((engine.tensor(output)[0] - np.float64(zero_point)) * scale).mean(axis=(0, 1))
        errors.append(np.abs(sums / len(images) - wanted).max())
    assert errors[1] < errors[0]


def test_the_head_loses_its_mean_error_and_keeps_its_weights(
    corrected: bytes, statistics: ActivationStatistics, images: list[Pixels]
) -> None:
    input_tensor = QuantizedModel(corrected, "pixels").io_specs[0]
    model = correct_head(corrected, SPEC, input_tensor, images, statistics.logits)
    assert np.abs(mean_logit_error(corrected, images, statistics.logits)).max() > 2e-5
    assert np.allclose(mean_logit_error(model, images, statistics.logits), 0, atol=1e-6)
    before, after = TfliteGraph(corrected), TfliteGraph(model)
    changed = [
        i
        for i in filter(before.is_constant, before.tensors)
        if not np.array_equal(before.constant(i), after.constant(i))
    ]
    assert changed == [before.named("FULLY_CONNECTED")[-1].inputs[2]]


def test_an_integer_head_is_left_alone(
    float_model: bytes, statistics: ActivationStatistics, images: list[Pixels]
) -> None:
    quantized = quantize(float_model, Recipe(SCHEMES["int8"], "int8"), SPEC, statistics)
    input_tensor = quantized.io_specs[0]
    assert correct_head(quantized.model, SPEC, input_tensor, images, statistics.logits) is quantized.model


def test_a_network_without_a_dense_layer_is_left_alone(images: list[Pixels]) -> None:
    image = keras.Input((12, 12, 3), batch_size=1)
    network = keras.Model(image, layers.Softmax()(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))))
    model = bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    logits = collect_statistics(model, images, SPEC)[0].logits
    assert correct_head(model, SPEC, QuantizedModel(model, "normalized").io_specs[0], images, logits) is model


def test_weights_that_need_no_rounding_move_no_bias(float_model: bytes, statistics: ActivationStatistics) -> None:
    """Float weights set to the dequantized ones: nothing to correct."""
    exact, quantized = (
        TfliteGraph(float_model),
        TfliteGraph(quantize(float_model, Recipe(SCHEMES["int8"], "float32"), SPEC, statistics).model),
    )
    for source, operator in zip(weighted(exact), weighted(quantized), strict=True):
        scales = quantized.scales(operator.inputs[1])
        assert scales is not None
        axis = (1, 1, 1, -1) if source.name == "DEPTHWISE_CONV_2D" else (-1, 1, 1, 1)
        values = quantized.constant(operator.inputs[1]) * np.float64(scales).reshape(axis)
        exact.set_constant(source.inputs[1], values.astype(np.float32))
    before = [quantized.constant(operator.inputs[2]).copy() for operator in weighted(quantized)]
    correct_weight_rounding(quantized, exact, statistics.mean)
    after = [quantized.constant(operator.inputs[2]) for operator in weighted(quantized)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
