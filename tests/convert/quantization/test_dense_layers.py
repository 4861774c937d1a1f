"""Dense layers as convolutions of one pixel: the same answers, one scale per channel on every runtime."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from convert.audit.operators import ClassifiedGraph
from convert.audit.runtimes import measured, needs, unmet
from convert.audit.verdict import judge
from convert.quantization.dense_layers import dense_as_convolutions
from convert.quantization.negations import without_negations
from convert.quantization.quantize import quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import collect_statistics
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from tests.convert.networks import SPEC, convolution, new_image


def beginners(x: Any) -> Any:
    x = layers.MaxPooling2D(2)(convolution(x, 6, "first"))
    for width in (24, 16):
        x = layers.Dense(width, activation="relu")(layers.Flatten()(x))
    return layers.Dense(5)(x)


def perceptron(x: Any) -> Any:
    return layers.Dense(5)(layers.Dense(32, activation="relu", use_bias=False)(layers.Flatten()(x)))


def attention(x: Any) -> Any:
    x = layers.Reshape((20, 8))(layers.Conv2D(8, 4, strides=4, name="patches")(x))
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
    x = layers.Add()([x, layers.Dense(8)(layers.Dense(16, activation="gelu")(x))])
    return layers.Dense(5)(layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x)))


def of_one_pixel(x: Any) -> Any:
    """MobileNetV3 ends so: the classes are a convolution's."""
    x = layers.GlobalAveragePooling2D(keepdims=True)(convolution(x, 8, "last"))
    x = layers.Conv2D(12, 1, activation="relu", name="hidden")(x)
    return layers.Flatten()(layers.Conv2D(5, 1, name="classes")(x))


NETWORKS = {
    make.__name__: (make, dense) for make, dense in ((beginners, 3), (perceptron, 2), (attention, 7), (of_one_pixel, 0))
}
"""Name -> what makes the logits from an image, and the number of its dense operators."""


@pytest.fixture(params=NETWORKS, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def before(name: str) -> bytes:
    keras.utils.set_random_seed(3)
    image = new_image()
    model = keras.Model(image, layers.Softmax()(NETWORKS[name][0](image)))
    for weight in model.weights:
        weight.assign(weight + np.random.default_rng(len(weight.shape)).normal(0, 0.05, weight.shape))
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


@pytest.fixture(scope="module")
def after(before: bytes) -> bytes:
    return dense_as_convolutions(without_negations(before))


@pytest.fixture(scope="module")
def images() -> list[Any]:
    random = np.random.default_rng(0)
    return [np.repeat(np.repeat(small, 4, 0), 4, 1) for small in random.integers(0, 256, (16, 4, 5, 3), np.uint8)]


def test_answers_are_the_same(before: bytes, after: bytes) -> None:
    old, new = RecordingEngine(before), RecordingEngine(after)
    for image in np.random.default_rng(1).normal(size=(4, 1, 16, 20, 3)).astype(np.float32):
        np.testing.assert_allclose(new.run(image), old.run(image), atol=1e-6)


def test_the_last_layer_alone_is_dense(name: str, before: bytes, after: bytes) -> None:
    old, new = TfliteGraph(before), TfliteGraph(after)
    assert len(old.named("FULLY_CONNECTED")) == NETWORKS[name][1]
    assert len(new.named("FULLY_CONNECTED")) == 1
    assert sum(o.has_weights for o in new.operators) == sum(o.has_weights for o in old.operators)
    assert not new.named("NEG")


def test_layers_keep_their_names(before: bytes, after: bytes) -> None:
    def outputs(model: bytes) -> set[str]:
        graph = TfliteGraph(model)
        return {graph.tensor_name(operator.outputs[0]) for operator in graph.operators if operator.has_weights}

    assert outputs(before) == outputs(after)


def test_no_reshape_undoes_another(after: bytes) -> None:
    graph = TfliteGraph(after)
    for operator in graph.named("RESHAPE"):
        maker = graph.producer(operator.inputs[0])
        assert maker is None or maker.name != "RESHAPE"


def test_what_has_one_dense_layer_is_left_alone() -> None:
    image = new_image()
    network = keras.Model(image, layers.Dense(5, activation="softmax")(layers.Flatten()(image)))
    model = bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    assert dense_as_convolutions(model) is model


def test_int8_is_int8_on_every_runtime(after: bytes, images: list[Any]) -> None:
    """Before, all dense layers were called a head, and most bytes stayed in float."""
    statistics = collect_statistics(after, images, SPEC)[0]
    quantized = quantize(after, Recipe(SCHEMES["int8"], "float32"), SPEC, statistics).model
    graph = TfliteGraph(quantized)
    verdict = judge(ClassifiedGraph(graph))
    assert verdict.kind == "int8", verdict.text
    wanted = [need for need in needs(graph) if not need.row.startswith(("BATCH_MATMUL", "RSQRT", "GELU"))]
    assert [runtime for runtime in measured() if unmet(wanted, runtime)] == []


def test_dense_layers_of_dynamic_have_a_scale_for_each_channel_on_every_runtime(before: bytes) -> None:
    graph = TfliteGraph(quantize(before, Recipe(SCHEMES["dynamic"], "float32"), SPEC, None).model)
    rows = {need.row for need in needs(graph) if need.row.startswith("FULLY_CONNECTED:")}
    assert rows == set()
    assert all(graph.dtype(operator.weights) == "int8" for operator in graph.named("CONV_2D"))
