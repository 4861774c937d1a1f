"""The head: where it begins, weights that are int8 in the file, answers as in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from convert.audit.runtimes import measured, needs, unmet
from convert.quantization import head
from convert.quantization.head import head_layer, store_compactly
from convert.quantization.quantize import head_begins
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, logits_tensor
from convert.tflite.operators import Operator
from tests.convert.networks import convolution, headed, lowered, new_image


def of_layers(*behind: keras.layers.Layer) -> TfliteGraph:
    """A convolution, layers behind it, and a softmax."""
    image = new_image()
    x = convolution(image, 4, "only")
    for layer in behind:
        x = layer(x)
    network = keras.Model(image, layers.Softmax()(x))
    return TfliteGraph(bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert()))


@pytest.fixture(scope="module")
def model() -> bytes:
    image = new_image()
    return lowered(image, layers.GlobalAveragePooling2D()(convolution(image, 8, "only")), 7)


def dense(model: bytes) -> tuple[TfliteGraph, Operator]:
    graph = TfliteGraph(model)
    layer = head_layer(graph)
    assert layer is not None
    return graph, layer


def test_the_head_is_the_last_dense_layer_and_the_pool_before_it() -> None:
    graph = of_layers(layers.GlobalAveragePooling2D(), layers.Dense(6, activation="relu"), layers.Dense(5))
    assert [o.name for o in graph.operators[head_begins(graph) :]] == ["FULLY_CONNECTED", "SOFTMAX"]
    graph = of_layers(layers.GlobalAveragePooling2D(), layers.Dense(5))
    assert [o.name for o in graph.operators[head_begins(graph) :]] == ["MEAN", "FULLY_CONNECTED", "SOFTMAX"]
    graph = of_layers(layers.AveragePooling2D((16, 20)), layers.Flatten(), layers.Dense(5))
    head = [o.name for o in graph.operators[head_begins(graph) :] if o.name != "RESHAPE"]
    assert head == ["AVERAGE_POOL_2D", "FULLY_CONNECTED", "SOFTMAX"]


def test_without_a_dense_layer_the_head_begins_behind_the_last_convolution() -> None:
    graph = of_layers(layers.GlobalAveragePooling2D())
    assert [o.name for o in graph.operators[head_begins(graph) :]] == ["MEAN", "SOFTMAX"]


def test_the_only_layer_of_a_network_is_no_head() -> None:
    """Else nothing of it would be in integers."""
    image = new_image()
    graph = TfliteGraph(lowered(image, layers.Flatten()(image)))
    assert [o.name for o in graph.operators[head_begins(graph) :]] == ["SOFTMAX"]


def test_stored_weights_are_the_float_ones_rounded_for_each_class(model: bytes) -> None:
    before, layer = dense(model)
    weights = before.constant(layer.weights)
    scales = np.abs(weights).max(axis=1) / 127
    after, stored = dense(store_compactly(before))
    unpacked = after.producer(stored.inputs[1])
    assert unpacked is not None
    assert unpacked.name == "DEQUANTIZE"
    assert unpacked.version == 5  # the first that knows a scale for each channel: older kernels refuse it
    (tensor,) = unpacked.inputs
    assert after.dtype(tensor) == "int8"
    np.testing.assert_allclose(after.scales(tensor), scales, rtol=1e-6)
    np.testing.assert_array_equal(after.constant(tensor), np.rint(weights / scales[:, None]))
    assert all(not np.array_equal(after.constant(i), weights) for i in after.tensors if after.is_constant(i))


def test_logits_are_those_of_numpy(model: bytes) -> None:
    stored = store_compactly(TfliteGraph(model))
    graph, layer = dense(stored)
    unpacked = graph.producer(layer.inputs[1])
    assert unpacked is not None
    assert layer.bias is not None
    weights, bias = graph.dequantized(unpacked.inputs[0]), graph.constant(layer.bias)
    for with_xnnpack in (True, False):
        engine = RecordingEngine(stored, with_xnnpack=with_xnnpack)
        engine.run(np.random.default_rng(0).normal(size=(1, 16, 20, 3)).astype(np.float32))
        wanted = weights @ engine.tensor(layer.inputs[0])[0].astype(np.float64) + bias
        np.testing.assert_allclose(engine.tensor(logits_tensor(graph))[0], wanted, rtol=1e-5, atol=1e-5)


def test_every_runtime_that_was_measured_has_what_it_takes(model: bytes) -> None:
    wanted = needs(TfliteGraph(store_compactly(TfliteGraph(model))))
    assert [name for name in measured() if unmet(wanted, name)] == []


def test_a_class_without_weights_keeps_its_bias(model: bytes) -> None:
    graph, layer = dense(model)
    weights = graph.constant(layer.weights).copy()
    weights[3] = 0
    graph.set_constant(layer.weights, weights)
    assert layer.bias is not None
    graph.set_constant(layer.bias, np.arange(7, dtype=np.float32))
    stored = store_compactly(graph)
    engine = RecordingEngine(stored)
    engine.run(np.ones((1, 16, 20, 3), np.float32))
    assert engine.tensor(logits_tensor(TfliteGraph(stored)))[0, 3] == 3


def test_a_head_without_weights_stays_as_it_is() -> None:
    image = new_image()
    network = headed(image, layers.GlobalAveragePooling2D()(convolution(image, 5, "only")))
    pooled = keras.Model(image, layers.Softmax()(network.layers[-2].output))
    graph = TfliteGraph(bytes(tf.lite.TFLiteConverter.from_keras_model(pooled).convert()))
    assert head_layer(graph) is None
    kinds = [operator.name for operator in graph.operators]
    assert [operator.name for operator in TfliteGraph(store_compactly(graph)).operators] == kinds


@pytest.mark.parametrize("few", [True, False])
def test_few_weights_are_in_half_precision_which_gpus_unpack(
    model: bytes, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "FEW", 1.0 if few else 0.0)
    graph, layer = dense(store_compactly(TfliteGraph(model)))
    unpacked = graph.producer(layer.inputs[1])
    assert unpacked is not None
    assert graph.dtype(unpacked.inputs[0]) == ("float16" if few else "int8")


def test_weights_in_half_precision_answer_as_in_numpy(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "FEW", 1.0)
    before, source = dense(model)
    weights = before.constant(source.weights).astype(np.float16).astype(np.float64)
    stored = store_compactly(before)
    graph, layer = dense(stored)
    assert layer.bias is not None
    for with_xnnpack in (True, False):
        engine = RecordingEngine(stored, with_xnnpack=with_xnnpack)
        engine.run(np.random.default_rng(0).normal(size=(1, 16, 20, 3)).astype(np.float32))
        wanted = weights @ engine.tensor(layer.inputs[0])[0].astype(np.float64) + graph.constant(layer.bias)
        np.testing.assert_allclose(engine.tensor(logits_tensor(graph))[0], wanted, rtol=1e-5, atol=1e-5)
    assert [name for name in measured() if unmet(needs(graph), name)] == []
