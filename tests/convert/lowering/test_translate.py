"""Translated networks: their ends and names, nested models, what is refused and why, and the converter beside them."""

# ruff: noqa: PLW0108 - every network gets layers of its own
from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from convert.keras_models.inception_resnet_v2 import inception_resnet_v2
from convert.lowering.batch_norm_folding import fold_batch_norms
from convert.lowering.keras_comparison import tflite_logits
from convert.lowering.translate import UntranslatableError, translate
from convert.tflite.graph import TfliteGraph, layer_name
from tests.convert.article import randomise
from tests.convert.lowering.keras_inception import narrow_inception_resnet
from tests.convert.lowering.translation.comparing import (
    Body,
    Tensor,
    agreement,
    answers,
    classifier,
    kinds,
    network,
)

SHAPE = (13, 12, 3)
LEAST_SQNR_DB = 105.0


@functools.cache
def small_network() -> keras.Model:
    return randomise(inception_resnet_v2((75, 75, 3), 5, repeats=(1, 1, 1), width=0.1))


def shared_layer(x: Tensor) -> Tensor:
    twice = layers.Conv2D(3, 3, padding="same", activation="relu")
    return layers.Concatenate()([twice(x), twice(twice(x))])


def shared_pair(x: Tensor) -> Tensor:
    convolution, norm = layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization()
    return norm(convolution(norm(convolution(x))))


def backbone(shape: tuple[int | None, ...] = SHAPE, name: str = "backbone") -> keras.Model:
    image = keras.Input(shape)
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, use_bias=False, name="conv")(layers.ZeroPadding2D()(image)))
    x = layers.Add()([x, layers.Conv2D(6, 1)(layers.ReLU()(x))])
    return keras.Model(image, x, name=name)


def sequential(shape: tuple[int | None, ...] = SHAPE) -> keras.Model:
    return keras.Sequential([keras.Input(shape), layers.Conv2D(3, 3, name="conv"), layers.ReLU()], name="sequence")


def top_of(model: keras.Model) -> Tensor:
    """What a user builds on the layer before the last of a model, as when its head is replaced."""
    return keras.Model(model.inputs, model.layers[-2].output)


def called_twice(x: Tensor) -> Tensor:
    model = backbone()
    return layers.Subtract()([model(x), model(layers.ReLU()(x))])


def two_ends(x: Tensor) -> Tensor:
    image = keras.Input(SHAPE)
    model = keras.Model(image, [layers.Conv2D(4, 3)(image), layers.Conv2D(4, 3, activation="relu")(image)])
    return layers.Add()(model(x))


NESTED: dict[str, Body] = {
    "model": lambda x: layers.ReLU()(backbone()(x)),
    "frozen": lambda x: backbone()(x, training=False),
    "of any size": lambda x: backbone((None, None, 3))(x),
    "sequential of any size": lambda x: layers.Flatten()(sequential((None, None, 3))(x)),
    "sequential": lambda x: sequential()(x),
    "twice as deep": lambda x: keras.Sequential([keras.Input(SHAPE), backbone(), layers.Conv2D(2, 1)])(x),
    "called twice": called_twice,
    "without its last layer": lambda x: layers.ReLU()(top_of(sequential())(x)),
    "two ends": two_ends,
    "augmentation in front": lambda x: backbone()(
        keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.2)])(x)
    ),
    "batch-normalization behind": lambda x: layers.BatchNormalization()(sequential_without_relu()(x)),
    "shared layer": shared_layer,
    "shared layer and batch-normalization": shared_pair,
}


def sequential_without_relu() -> keras.Model:
    return keras.Sequential([keras.Input(SHAPE), layers.Conv2D(3, 3)])


REFUSED: dict[str, tuple[Body, str]] = {
    "attention": (
        lambda x: layers.MultiHeadAttention(2, 2, name="attention_2")(x, x),
        "layer attention_2: MultiHeadAttention",
    ),
    "activation": (lambda x: layers.Conv2D(5, 3, activation="selu", name="c")(x), "layer c: activation selu"),
    "inside": (
        lambda x: keras.Sequential([keras.Input(SHAPE), layers.Activation("selu", name="a")], name="inner")(x),
        "layer inner/a: activation selu",
    ),
    "an axis": (
        lambda x: layers.BatchNormalization(axis=1, name="norm")(x),
        "layer norm: BatchNormalization over axis 1",
    ),
    "threshold": (lambda x: layers.ReLU(threshold=1, name="r")(x), "layer r: ReLU with threshold 1"),
    "lambda": (lambda x: layers.Lambda(lambda y: y * 2, name="times2")(x), "layer times2: Lambda"),
    "softmax of pixels": (lambda x: layers.Softmax(name="s")(x), "layer s: softmax of every pixel"),
    "half precision": (
        lambda x: layers.Conv2D(4, 3, dtype="mixed_float16", name="half")(x),
        "layer half: Conv2D in float16",
    ),
    "ranks": (
        lambda x: layers.Add(name="sum")([x, layers.Flatten()(x)[:, :3]]),
        "layer sum: Add of tensors of different ranks",
    ),
    "part of an image": (lambda x: x[:, 1:5], "layer get_item"),
    "several outputs": (lambda x: keras.ops.split(x, 3, axis=-1)[0], "layer split: Split with 3 outputs"),
}


@pytest.mark.parametrize("name", NESTED)
def test_nested_and_shared_models_are_translated(name: str) -> None:
    translated, sqnr_db = agreement(classifier(NESTED[name], SHAPE))
    assert sqnr_db > LEAST_SQNR_DB
    graph = TfliteGraph(translated)
    assert "DEPTHWISE_CONV_2D" not in kinds(translated), "a batch-normalization is left"
    names = [graph.tensor_name(index) for index in graph.tensors]
    assert len(names) == len(set(names)), "statistics are kept by name"


def test_layers_of_nested_models_are_named_after_their_models() -> None:
    translated = translate(classifier(lambda x: keras.Sequential([backbone()], name="outer")(x), SHAPE))
    graph = TfliteGraph(translated)
    names = {layer_name(graph.tensor_name(operator.outputs[0])) for operator in graph.operators}
    assert any(name.startswith("outer/backbone/batch_normalization") for name in names)


@pytest.mark.parametrize("name", REFUSED)
def test_the_layer_that_has_no_translation_is_named(name: str) -> None:
    body, reason = REFUSED[name]
    with pytest.raises(UntranslatableError) as refused:
        translate(network(body, SHAPE))
    assert str(refused.value).startswith(reason)


def test_a_model_with_code_of_its_own_is_refused() -> None:
    class Mine(keras.Model):  # type: ignore[misc]
        def call(self, x: Tensor) -> Tensor:
            return x + 1

    with pytest.raises(UntranslatableError, match="layer mine: Mine, a model with code of its own"):
        translate(network(lambda x: Mine(name="mine")(x), SHAPE))


def test_a_layer_of_ones_own_under_the_name_of_keras_is_refused() -> None:
    class ReLU(layers.Layer):  # type: ignore[misc]
        def call(self, x: Tensor) -> Tensor:
            return x + 1

    with pytest.raises(UntranslatableError, match="layer mine: ReLU"):
        translate(network(lambda x: ReLU(name="mine")(x), SHAPE))


def test_two_outputs_are_refused() -> None:
    image = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(image)
    with pytest.raises(UntranslatableError, match="2 outputs"):
        translate(keras.Model(image, [layers.Dense(4)(x), layers.Dense(4)(x)]))


def test_the_articles_network_is_what_the_converter_makes_of_it_to_the_last_bit() -> None:
    model = small_network()
    height, width, _ = model.input_shape[1:]
    translated = translate(model)
    converted = bytes(tf.lite.TFLiteConverter.from_keras_model(fold_batch_norms(model)).convert())
    ours, theirs = TfliteGraph(translated), TfliteGraph(converted)
    assert [operator.name for operator in ours.operators] == [operator.name for operator in theirs.operators]
    for one, other in zip(ours.operators, theirs.operators, strict=True):
        for mine, its in zip(one.inputs, other.inputs, strict=True):
            assert ours.is_constant(mine) == theirs.is_constant(its)
            if ours.is_constant(mine):
                assert np.array_equal(ours.constant(mine), theirs.constant(its))
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, height, width, 3)).astype(np.float32)
    converted_ends = TfliteGraph(converted)
    assert converted_ends.shape(converted_ends.inputs[0]) == ours.shape(ours.inputs[0])
    assert np.array_equal(tflite_logits(translated, pixels), tflite_logits(converted, pixels))


def test_tensors_are_called_after_the_last_layer_inside_their_operator() -> None:
    model = small_network()
    translated = translate(model)
    graph = TfliteGraph(translated)
    names = [layer_name(graph.tensor_name(operator.outputs[0])) for operator in graph.operators]
    assert names[0] == "stem_conv_bn_relu1"
    assert "inception_resnet_A_1_relu" in names
    assert "inception_resnet_A_1_add" not in names
    assert len(names) == len(set(names))


def test_the_ends_and_what_is_said_of_them() -> None:
    translated = translate(classifier(lambda x: layers.MaxPooling2D()(x), SHAPE))
    graph = TfliteGraph(translated)
    inputs, outputs = graph.signatures()["serving_default"]
    assert inputs == {"image": graph.inputs[0]}
    assert outputs == {"probabilities": graph.outputs[0]}
    assert graph.shape(graph.inputs[0]) == graph.shape_signature(graph.inputs[0]) == (1, *SHAPE)


MINIMUM_RUNTIMES: dict[str, tuple[Body, str]] = {
    "old operators": (lambda x: layers.Conv2D(3, 3, activation="relu")(layers.ZeroPadding2D(2)(x)), "1.6.0"),
    "sigmoid": (lambda x: layers.Activation("sigmoid")(x), "1.14.0"),
    "hard swish": (lambda x: layers.Activation("hard_swish")(layers.Activation("sigmoid")(x)), "1.15.0"),
    "half-pixel centres": (lambda x: layers.Resizing(8, 8)(x), "2.2.0"),
    "gelu": (lambda x: layers.Activation("gelu")(layers.Resizing(8, 8)(x)), "2.9.0"),
}


@pytest.mark.parametrize("name", MINIMUM_RUNTIMES)
def test_the_oldest_runtime_is_that_of_the_newest_operator(name: str) -> None:
    body, expected = MINIMUM_RUNTIMES[name]
    assert TfliteGraph(translate(classifier(body, SHAPE))).minimum_runtime() == expected


def test_keras_scaled_residual_branches_lose_their_scale() -> None:
    """The 40 scaled sums of keras.applications' network are in its last convolutions; nothing multiplies."""
    theirs = narrow_inception_resnet()
    assert sum(type(layer).__name__ == "CustomScaleLayer" for layer in theirs.layers) == 40
    translated = translate(theirs)
    assert set(kinds(translated)) == {
        "CONV_2D", "CONCATENATION", "ADD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX",
    }  # fmt: skip
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 75, 75, 3)).astype(np.float32)
    np.testing.assert_allclose(answers(translated, pixels), np.asarray(theirs(pixels)), atol=1e-5)
