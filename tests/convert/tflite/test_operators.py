"""Kinds of operators and their weights, against litert-quantizer's table and networks of every kind."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from litert_quantizer import qtyping
from litert_quantizer.utils import tfl_flatbuffer_utils as upstream

from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import CHANNEL_AXIS, CLASSIFIER_KINDS, CONVOLUTIONS, DENSE, Operator
from tests.convert.networks import new_image

UPSTREAM_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}


@pytest.fixture(scope="module")
def graph() -> TfliteGraph:
    """Return one operator of each kind with weights; the dense one has no bias."""
    keras.utils.set_random_seed(0)
    image = new_image()
    x = layers.Conv2D(4, (3, 1), strides=(2, 1), activation="relu6", padding="same", name="convolution")(image)
    x = layers.DepthwiseConv2D((1, 3), depth_multiplier=2, activation="relu", name="depthwise")(x)
    x = layers.Conv2DTranspose(5, 3, bias_initializer="ones", name="transposed")(x)
    x = layers.GlobalMaxPooling2D()(x)
    model = keras.Model(image, layers.Dense(7, use_bias=False, name="dense")(x))
    for weight in model.weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    return TfliteGraph(bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert()))


def the(graph: TfliteGraph, kind: str) -> Operator:
    (operator,) = graph.named(kind)
    return operator


@pytest.mark.parametrize("kind", CHANNEL_AXIS)
def test_output_channels_lie_where_the_quantizer_has_them(kind: str) -> None:
    name = qtyping.TFLOperationName(UPSTREAM_NAMES.get(kind, kind))
    assert upstream.TFL_OP_TO_WEIGHT_QUANTIZED_DIM[name] == CHANNEL_AXIS[kind]


@pytest.mark.parametrize(
    ("kind", "channels", "bias"),
    [("CONV_2D", 4, 4), ("DEPTHWISE_CONV_2D", 8, 8), ("TRANSPOSE_CONV", 5, 5), (DENSE, 7, 0)],
)
def test_an_operator_knows_its_weights_and_its_bias(kind: str, channels: int, bias: int, graph: TfliteGraph) -> None:
    operator = the(graph, kind)
    assert operator.has_weights
    assert graph.is_constant(operator.weights)
    assert graph.shape(operator.weights)[operator.channel_axis] == channels
    assert (0 if operator.bias is None else len(graph.constant(operator.bias))) == bias


def test_an_operator_without_weights_has_none(graph: TfliteGraph) -> None:
    pool = the(graph, "REDUCE_MAX")
    assert not pool.has_weights
    with pytest.raises(AssertionError, match="REDUCE_MAX"):
        assert pool.weights


def test_an_operator_reads_its_options(graph: TfliteGraph) -> None:
    convolution, depthwise = the(graph, "CONV_2D"), the(graph, "DEPTHWISE_CONV_2D")
    assert (convolution.fused_activation, depthwise.fused_activation) == ("RELU6", "RELU")
    assert (convolution.is_unpadded, depthwise.is_unpadded) == (False, True)
    assert (convolution.strides, convolution.dilations) == ((2, 1), (1, 1))
    assert the(graph, "REDUCE_MAX").fused_activation == "NONE"


def test_classifiers_have_no_transposed_convolution() -> None:
    assert set(CHANNEL_AXIS) - set(CLASSIFIER_KINDS) == {"TRANSPOSE_CONV"} == set(CONVOLUTIONS) - set(CLASSIFIER_KINDS)
