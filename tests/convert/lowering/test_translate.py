"""Translated networks compute what Keras does, in the operators that TFLiteConverter makes; the rest is left to it."""

# ruff: noqa: PLW0108 - every network gets layers of its own
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from keras import layers

from convert.keras_models.inception_resnet_v2 import inception_resnet_v2
from convert.lowering.batch_norm_folding import fold_batch_norms
from convert.lowering.keras_comparison import tflite_logits
from convert.lowering.translate import translate
from convert.tflite.graph import TfliteGraph
from convert.tflite.tensor_names import layer_name
from edge_runtime.engines import Engine, choose_engine
from tests.convert.article import randomise
from tests.convert.lowering.keras_inception import narrow_inception_resnet

Tensor = Any
Array = npt.NDArray[np.float32]
SHAPE = (13, 12, 3)


def network(body: Callable[[Tensor], Tensor]) -> keras.Model:
    """A classifier of four classes, on the features that `body` makes of an image or `body` alone; random weights."""
    image = keras.Input(SHAPE, name="image")
    x = body(image)
    if len(x.shape) == 4:
        x = layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x, name="network")
    random = np.random.default_rng(1)
    for weight in model.weights:
        positive = weight.name in ("gamma", "moving_variance")
        weight.assign(random.uniform(0.3, 2, weight.shape) if positive else random.normal(0, 0.4, weight.shape))
    return model


def answers(model: bytes, images: Array) -> Array:
    engine = Engine(model, choose_engine("litert"), 1)
    return np.concatenate([engine.run(image[np.newaxis]) for image in images])


def kinds(model: bytes) -> list[str]:
    return [operator.name for operator in TfliteGraph(model).operators]


@functools.cache
def small_network() -> keras.Model:
    return randomise(inception_resnet_v2((75, 75, 3), 5, repeats=(1, 1, 1), width=0.1))


def residual(x: Tensor) -> Tensor:
    x = layers.Conv2D(6, 3)(x)
    return layers.ReLU()(layers.Add()([x, layers.Conv2D(6, 1)(layers.Activation("relu")(x))]))


def shared(x: Tensor) -> Tensor:
    twice = layers.Conv2D(3, 3, padding="same", activation="relu")
    return layers.Concatenate()([twice(x), twice(twice(x))])


TRANSLATED: dict[str, tuple[Callable[[Tensor], Tensor], list[str]]] = {
    "convolution": (lambda x: layers.Conv2D(5, 3, activation="relu")(x), ["CONV_2D"]),
    "no bias": (lambda x: layers.Conv2D(5, 3, use_bias=False)(x), ["CONV_2D"]),
    "same, strides, one row": (lambda x: layers.Conv2D(5, (1, 7), (2, 1), padding="same")(x), ["CONV_2D"]),
    "dilated": (lambda x: layers.Conv2D(5, 3, dilation_rate=2, activation="relu6")(x), ["CONV_2D"]),
    "folded": (lambda x: layers.BatchNormalization()(layers.Conv2D(5, 3, use_bias=False)(x)), ["CONV_2D"]),
    "folded, then ReLU": (
        lambda x: layers.Activation("relu")(layers.BatchNormalization(scale=False)(layers.Conv2D(5, 3)(x))),
        ["CONV_2D"],
    ),
    "depthwise": (
        lambda x: layers.ReLU(6.0)(
            layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x))
        ),
        ["DEPTHWISE_CONV_2D"],
    ),
    "pools": (
        lambda x: layers.AveragePooling2D(3, 1, padding="same")(layers.MaxPooling2D(3, 2)(x)),
        ["MAX_POOL_2D", "AVERAGE_POOL_2D"],
    ),
    "ReLU behind a pool": (lambda x: layers.ReLU()(layers.MaxPooling2D(2)(x)), ["MAX_POOL_2D", "RELU"]),
    "residual": (residual, ["CONV_2D", "RELU", "CONV_2D", "ADD"]),
    "shared layer": (shared, ["CONV_2D"] * 3 + ["CONCATENATION"]),
    "dropout, softmax layer": (
        lambda x: layers.Softmax()(layers.Dense(4)(layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x)))),
        [],
    ),
    "softmax as activation, dense without bias": (
        lambda x: layers.Activation("softmax")(layers.Dense(4, use_bias=False)(layers.GlobalAveragePooling2D()(x))),
        [],
    ),
}

LEFT: dict[str, Callable[[Tensor], Tensor]] = {
    "groups": lambda x: layers.Conv2D(6, 3, groups=3)(x),
    "batch-normalization of the image": lambda x: layers.BatchNormalization()(x),
    "leaky ReLU": lambda x: layers.ReLU(negative_slope=0.1)(x),
    "ReLU up to 5": lambda x: layers.ReLU(5.0)(x),
    "another activation": lambda x: layers.Conv2D(5, 3, activation="gelu")(x),
    "another axis": lambda x: layers.Concatenate(axis=1)([x, x]),
    "sum that broadcasts": lambda x: layers.Add()([x, layers.Conv2D(1, 1)(x)]),
    "layer of another kind": lambda x: layers.Rescaling(0.5)(x),
    "nested model": lambda x: keras.Sequential([keras.Input(SHAPE), layers.Conv2D(4, 3)])(x),
    "operation": lambda x: x + 1,
    "softmax of an image": lambda x: layers.Softmax()(x),
    "float16": lambda x: layers.Conv2D(4, 3, dtype="mixed_float16")(x),
}


@pytest.mark.parametrize("name", TRANSLATED)
def test_translated_networks_compute_what_keras_does(name: str) -> None:
    body, expected = TRANSLATED[name]
    model = network(body)
    images = np.random.default_rng(0).normal(0, 2, (4, *SHAPE)).astype(np.float32)
    translated = translate(model)
    assert translated is not None
    assert [kind for kind in kinds(translated) if kind not in ("MEAN", "FULLY_CONNECTED", "SOFTMAX")] == expected
    assert kinds(translated)[-1] == "SOFTMAX"
    wanted = np.asarray(model(images, training=False))
    assert wanted.std() > 1e-3, "nothing to compare"
    np.testing.assert_allclose(answers(translated, images), wanted, atol=2e-6)


@pytest.mark.parametrize("name", LEFT)
def test_what_has_no_operator_here_is_left_to_the_converter(name: str) -> None:
    assert translate(network(LEFT[name])) is None


def test_two_outputs_are_left() -> None:
    image = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(image)
    assert translate(keras.Model(image, [layers.Dense(4)(x), layers.Dense(4)(x)])) is None


def test_the_articles_network_is_what_the_converter_makes_of_it_to_the_last_bit() -> None:
    model = small_network()
    height, width, _ = model.input_shape[1:]
    translated = translate(model)
    assert translated is not None
    converted = bytes(tf.lite.TFLiteConverter.from_keras_model(fold_batch_norms(model)).convert())
    ours, theirs = TfliteGraph(translated), TfliteGraph(converted)
    assert [operator.name for operator in ours.operators] == [operator.name for operator in theirs.operators]
    for one, other in zip(ours.operators, theirs.operators, strict=True):
        for mine, its in zip(one.inputs, other.inputs, strict=True):
            assert ours.is_constant(mine) == theirs.is_constant(its)
            if ours.is_constant(mine):
                assert np.array_equal(ours.constant(mine), theirs.constant(its))
    images = np.random.default_rng(0).uniform(-1, 1, (2, height, width, 3)).astype(np.float32)
    converted_ends = TfliteGraph(converted)
    assert converted_ends.shape(converted_ends.inputs[0]) == ours.shape(ours.inputs[0])
    assert np.array_equal(tflite_logits(translated, images), tflite_logits(converted, images))


def test_tensors_are_called_after_the_last_layer_inside_their_operator() -> None:
    model = small_network()
    translated = translate(model)
    assert translated is not None
    graph = TfliteGraph(translated)
    names = [layer_name(graph.tensor_name(operator.outputs[0])) for operator in graph.operators]
    assert names[0] == "stem_conv_bn_relu1"
    assert "inception_resnet_A_1_relu" in names
    assert "inception_resnet_A_1_add" not in names
    assert len(names) == len(set(names))


def test_the_ends_and_what_is_said_of_them() -> None:
    translated = translate(network(TRANSLATED["pools"][0]))
    assert translated is not None
    graph = TfliteGraph(translated)
    inputs, outputs = graph.signatures()["serving_default"]
    assert inputs == {"image": graph.inputs[0]}
    assert outputs == {"probabilities": graph.outputs[0]}
    assert graph.shape(graph.inputs[0]) == graph.shape_signature(graph.inputs[0]) == (1, *SHAPE)
    assert graph.minimum_runtime() == "1.6.0"


def test_keras_scaled_residual_branches_lose_their_scale() -> None:
    """The 40 scaled sums of keras.applications' network are in its last convolutions; nothing multiplies."""
    theirs = narrow_inception_resnet()
    assert sum(type(layer).__name__ == "CustomScaleLayer" for layer in theirs.layers) == 40
    translated = translate(theirs)
    assert translated is not None
    assert set(kinds(translated)) == {
        "CONV_2D", "CONCATENATION", "ADD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX",
    }  # fmt: skip
    images = np.random.default_rng(0).uniform(-1, 1, (1, 75, 75, 3)).astype(np.float32)
    np.testing.assert_allclose(answers(translated, images), np.asarray(theirs(images)), atol=1e-5)
