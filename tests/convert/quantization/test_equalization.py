"""Cross-layer equalization: channels come closer, and the network computes what it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from keras import layers

from convert.lowering.translate import translate
from convert.quantization.equalization import MOST_UNEVEN, STREAM_STRENGTH, equalize, group_channels
from convert.quantization.statistics import ActivationStatistics, collect_statistics
from convert.tflite.graph import TfliteGraph
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.preprocess import Pixels, normalize
from tests.convert.networks import SPEC, convolution, headed, lowered, new_image, residual_network

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def residual_model() -> bytes:
    return residual_network()


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (6, 16, 20, 3), np.uint8))


def answers(model: bytes, images: list[Pixels]) -> Array:
    engine = Engine(model, choose_engine("litert"), 1)
    return np.stack([engine.run(normalize(image, SPEC)[np.newaxis])[0] for image in images])


def largest(statistics: ActivationStatistics, part: str) -> Array:
    """The largest value of each channel of the tensor whose name has `part` in it, dead channels left out."""
    (name,) = (name for name in statistics.maximum if part in name)
    values = np.maximum(-statistics.minimum[name], statistics.maximum[name])
    return np.asarray(values[values > 0])


def test_the_network_computes_what_it_did(residual_model: bytes, images: list[Pixels]) -> None:
    equalized, _, _ = equalize(residual_model, collect_statistics(residual_model, images, SPEC)[0])
    assert equalized != residual_model
    np.testing.assert_allclose(answers(equalized, images), answers(residual_model, images), atol=1e-5)


def test_channels_between_two_convolutions_reach_the_same_maximum(residual_model: bytes, images: list[Pixels]) -> None:
    before = collect_statistics(residual_model, images, SPEC)[0]
    equalized, _, _ = equalize(residual_model, before)
    after = collect_statistics(equalized, images, SPEC)[0]
    for layer in ("left0", "right1", "last"):
        assert np.ptp(np.log2(largest(before, f"/{layer}_1/Relu"))) > 0.5
        np.testing.assert_allclose(largest(after, f"/{layer}_1/Relu"), 1, rtol=1e-4)


def test_statistics_are_those_of_the_new_network(residual_model: bytes, images: list[Pixels]) -> None:
    equalized, statistics, _ = equalize(residual_model, collect_statistics(residual_model, images, SPEC)[0])
    measured = collect_statistics(equalized, images, SPEC)[0]
    np.testing.assert_allclose(statistics.logits, measured.logits, rtol=1e-5, atol=1e-3)
    for name, values in measured.maximum.items():
        np.testing.assert_allclose(statistics.maximum[name], values, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(statistics.mean[name], measured.mean[name], rtol=1e-3, atol=1e-5)


def test_a_residual_stream_has_one_factor_a_channel(residual_model: bytes) -> None:
    graph = TfliteGraph(residual_model)
    groups, strengths = group_channels(graph)
    first, second = (operator.outputs[0] for operator in graph.named("ADD"))
    (entry,) = {i for i in graph.named("ADD")[0].inputs if len(graph.consumers(i)) > 1}
    np.testing.assert_array_equal(groups[first], groups[second])
    np.testing.assert_array_equal(groups[first], groups[entry])
    assert (strengths[groups[first]] == STREAM_STRENGTH).all()
    assert len(set(groups[first])) == 10


def test_the_ends_of_the_network_keep_their_scale(residual_model: bytes) -> None:
    graph = TfliteGraph(residual_model)
    groups, strengths = group_channels(graph)
    for tensor in (*graph.inputs, *graph.outputs):
        assert not strengths[groups[tensor]].any()


MOVES: dict[str, Callable[[Any], Any]] = {
    "zeros": layers.ZeroPadding2D(1),
    "crop": layers.Cropping2D(2),
    "reshape": layers.Reshape((8, 40, 6)),
    "resizing": layers.Resizing(9, 9),
    "leaky ReLU": layers.LeakyReLU(),
}


@pytest.mark.parametrize("name", MOVES)
def test_factors_pass_where_pixels_only_move(name: str, images: list[Pixels]) -> None:
    image = new_image()
    x = MOVES[name](convolution(image, 6, "first"))
    model = translate(headed(image, layers.GlobalAveragePooling2D()(convolution(x, 8, "last"))))
    before = collect_statistics(model, images, SPEC)[0]
    equalized, _, _ = equalize(model, before)
    np.testing.assert_allclose(answers(equalized, images), answers(model, images), atol=1e-5)
    after = collect_statistics(equalized, images, SPEC)[0]
    assert np.ptp(np.log2(largest(before, "/first/"))) > 0.5
    np.testing.assert_allclose(largest(after, "/first/"), 1, rtol=1e-4)


def test_channels_that_are_mixed_keep_their_scale(images: list[Pixels]) -> None:
    image = new_image()
    x = layers.Reshape((16, 10, 12))(convolution(image, 6, "first"))
    model = translate(headed(image, layers.GlobalAveragePooling2D()(convolution(x, 8, "last"))))
    graph = TfliteGraph(model)
    groups, strengths = group_channels(graph)
    (reshape,) = graph.named("RESHAPE")
    assert not any(strengths[groups[i]].any() for i in (reshape.inputs[0], reshape.outputs[0]))


def squeezed_and_excited(x: Any) -> Any:
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(3, 1, activation="relu", name="squeeze")(gate)
    return layers.Multiply()([layers.Conv2D(6, 1, activation="sigmoid", name="excite")(gate), x])


def beside_relu6(x: Any) -> Any:
    """Give a linear bottleneck to a convolution with ReLU6, and add what comes of it."""
    wide = layers.DepthwiseConv2D(3, padding="same", activation="relu6")(convolution(x, 9, "wide", activation="relu6"))
    return layers.Add()([x, layers.Conv2D(6, 1, name="narrow")(wide)])


EXACT: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "squeeze and excite": ("/first_1/Relu", squeezed_and_excited),
    "linear bottleneck": ("/add", beside_relu6),
    "product with constants": ("/first_1/Relu", lambda x: x * np.linspace(0.2, 3, 6, dtype=np.float32)),
    "PReLU": ("/first_1/Relu", layers.PReLU(shared_axes=[1, 2])),
    "difference": ("/first_1/Relu", lambda x: layers.Subtract()([x, layers.MaxPooling2D(3, 1, "same")(x)])),
}


@pytest.mark.parametrize("name", EXACT)
def test_factors_pass_what_is_proportional_in_each_channel(name: str, images: list[Pixels]) -> None:
    part, between = EXACT[name]
    image = new_image()
    activation = None if name == "linear bottleneck" else "relu"
    x = convolution(between(convolution(image, 6, "first", activation=activation)), 8, "last", activation="relu6")
    model = lowered(image, layers.GlobalAveragePooling2D()(x))
    before = collect_statistics(model, images, SPEC)[0]
    equalized, statistics, _ = equalize(model, before)
    np.testing.assert_allclose(answers(equalized, images), answers(model, images), atol=1e-5)
    assert np.ptp(np.log2(largest(statistics, part))) < np.ptp(np.log2(largest(before, part))) - 0.25
    (last,) = (name for name in before.maximum if "/last_1/" in name)
    np.testing.assert_array_equal(statistics.maximum[last], before.maximum[last])  # ReLU6


@pytest.mark.parametrize("after", ["relu6", "sigmoid", "swish", "hard_swish", "gelu", "scaled", "squared"])
def test_what_a_factor_cannot_pass_keeps_its_scale(after: str, images: list[Pixels]) -> None:
    image = new_image()
    x = convolution(image, 6, "first", activation=after if after not in ("scaled", "squared") else "relu")
    if after == "scaled":
        x = x * 0.3 + 0.1
    if after == "squared":
        x = layers.Multiply()([x, x])
    model = lowered(image, layers.GlobalAveragePooling2D()(convolution(x, 8, "last")))
    before = collect_statistics(model, images, SPEC)[0]
    equalized, after_equalizing, _ = equalize(model, before)
    np.testing.assert_allclose(answers(equalized, images), answers(model, images), atol=1e-5)
    first = next(name for name in before.maximum if "/first_1/" in name)
    np.testing.assert_array_equal(after_equalizing.maximum[first], before.maximum[first])


def random_blocks(seed: int) -> keras.Model:
    """A network of six random blocks, all of 6 channels, in an order of their own for each seed."""
    random = np.random.default_rng(seed)
    activations = ("relu", "relu6", "hard_swish", "silu", "sigmoid", None)
    blocks: list[Callable[[Any, str], Any]] = [
        lambda x, name: convolution(x, 6, name, activation=random.choice(activations)),
        lambda x, name: layers.DepthwiseConv2D(3, padding="same", activation=random.choice(activations), name=name)(x),
        lambda x, name: layers.Add()([x, layers.Conv2D(6, 1, name=name)(x)]),
        lambda x, name: layers.Multiply()([x, layers.Conv2D(6, 1, activation="sigmoid", name=name)(pooled(x))]),
        lambda x, name: layers.Conv2D(6, 1, name=name)(layers.Concatenate()([layers.LeakyReLU()(x), x])),
        lambda x, name: layers.Subtract(name=name)([layers.AveragePooling2D(3, 1, "same")(x), x]),
    ]
    image = new_image()
    x = convolution(image, 6, "first", activation=random.choice(activations))
    for at, block in enumerate(random.permutation(len(blocks))):
        x = blocks[block](x, f"block{at}")
    return headed(image, layers.GlobalAveragePooling2D()(convolution(x, 8, "last")))


def pooled(x: Any) -> Any:
    return layers.GlobalAveragePooling2D(keepdims=True)(x)


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_compute_what_they_did(seed: int, images: list[Pixels]) -> None:
    model = translate(random_blocks(seed))
    equalized, statistics, _ = equalize(model, collect_statistics(model, images, SPEC)[0])
    assert equalized != model
    np.testing.assert_allclose(answers(equalized, images), answers(model, images), atol=1e-5)
    for name, values in collect_statistics(equalized, images, SPEC)[0].maximum.items():
        np.testing.assert_allclose(statistics.maximum[name], values, rtol=1e-3, atol=1e-3)


def test_depthwise_convolutions_are_evened_out_on_both_sides(images: list[Pixels]) -> None:
    image = new_image()
    x = convolution(image, 6, "first")
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="depthwise")(x)
    model = lowered(image, layers.GlobalAveragePooling2D()(convolution(x, 8, "last")))
    equalized, statistics, _ = equalize(model, collect_statistics(model, images, SPEC)[0])
    np.testing.assert_allclose(answers(equalized, images), answers(model, images), atol=1e-5)
    for layer in ("first", "depthwise", "last"):
        reached = largest(statistics, f"/{layer}_1/Relu")
        np.testing.assert_allclose(reached[reached > 1 / 16], 1, rtol=1e-6)  # the rest was almost dead
        assert np.count_nonzero(reached > 1 / 16) > len(reached) / 2


def test_dead_and_almost_dead_channels_get_no_endless_factor(images: list[Pixels]) -> None:
    image = new_image()
    model = keras.Model(
        image,
        layers.Dense(5, activation="softmax")(
            layers.GlobalAveragePooling2D()(convolution(convolution(image, 4, "first"), 8, "last"))
        ),
    )
    kernel, bias = model.get_layer("first").get_weights()
    model.get_layer("first").set_weights([kernel * np.array([1, 1, 1e-9, 0]), bias])
    lowered_model = bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    before = collect_statistics(lowered_model, images, SPEC)[0]
    _, after, _ = equalize(lowered_model, before)
    (name,) = (name for name in before.maximum if "/first_1/Relu" in name)
    peak = before.maximum[name].max()
    np.testing.assert_allclose(after.maximum[name][2], before.maximum[name][2] * MOST_UNEVEN / peak, rtol=1e-6)
    assert after.maximum[name][3] == 0
