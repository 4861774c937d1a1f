"""Translate Keras layers to TFLite operators one by one, for networks made of the few kinds in `TRANSLATIONS`.

TFLiteConverter takes half a minute and gigabytes for what is 240 MB of constants and three hundred operators. Inception
networks need no compiler: a convolution is a CONV_2D that takes in what follows it. A model with another kind of layer,
or with an option that its translation does not know, is left to TFLiteConverter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from convert.lowering.batch_norm_folding import folded_weights
from convert.lowering.layer_call import Computed, LayerCall, Translation, UntranslatableError
from convert.tflite.schema import SCHEMA
from edge_runtime.arrays import Array

PADDINGS = {"same": SCHEMA.Padding.SAME, "valid": SCHEMA.Padding.VALID}


def translate(model: keras.Model) -> bytes | None:
    """Return a float `.tflite` that computes what `model` does, or None if it has to be left to TFLiteConverter.

    Args:
        model: a functional model in float32 of one image, channels last; batch-normalizations behind convolutions are
            folded (see `convert.lowering.batch_norm_folding`).

    Returns:
        A flatbuffer with static batch 1, signature `serving_default`, `image` -> `probabilities`. Tensors are named
        (see `convert.tflite.graph.tensor_name`) after the last layer that went into the operator which computes them.
    """
    try:
        return Translation(model).run(TRANSLATIONS)
    except UntranslatableError:
        return None


Translate = Callable[[LayerCall], Computed]


def _input(call: LayerCall) -> Computed:
    return Computed(call.translation.writer.tensor(call.layer.name, call.shape))


def _same(call: LayerCall) -> Computed:
    return call.inputs[0]


def _activation(call: LayerCall) -> Computed:
    return _activated_input(call, call.layer.activation)


def _relu(call: LayerCall) -> Computed:
    layer = call.layer
    if layer.negative_slope or layer.threshold or layer.max_value not in (None, 6.0):
        raise UntranslatableError
    return _activated_input(call, keras.activations.relu if layer.max_value is None else keras.activations.relu6)


def _activated_input(call: LayerCall, activation: Any) -> Computed:
    """Apply an activation to the input: in its operator, unless another layer needs the input as it is."""
    before = call.inputs[0]
    return call.activated(before if call.is_only_reader(0) else Computed(before.index), activation)


def _softmax(call: LayerCall) -> Computed:
    if call.layer.axis != -1 or len(call.inputs) != 1:
        raise UntranslatableError
    return call.activated(call.inputs[0], keras.activations.softmax)


def _batch_norm(call: LayerCall) -> Computed:
    if id(call.layer) not in call.translation.folded:
        raise UntranslatableError
    return call.rename(call.inputs[0], "BatchNorm")


def _convolution(call: LayerCall) -> Computed:
    if call.layer.groups != 1:
        raise UntranslatableError
    kernel, bias = _kernel_and_bias(call)
    return _windowed(call, "CONV_2D", kernel.transpose(3, 0, 1, 2), bias)


def _depthwise(call: LayerCall) -> Computed:
    kernel, bias = _kernel_and_bias(call)
    height, width, channels, multiplier = kernel.shape
    flat = kernel.reshape(1, height, width, channels * multiplier)
    return _windowed(call, "DEPTHWISE_CONV_2D", flat, bias, depthMultiplier=multiplier)


def _windowed(call: LayerCall, operator: str, kernel: Array, bias: Array, **options: Any) -> Computed:
    height, width = call.layer.dilation_rate
    inputs = [*call.indices, call.constant("kernel", kernel), call.constant("bias", bias)]
    options |= _window(call.layer) | {"dilationHFactor": height, "dilationWFactor": width}
    return call.activated(call.operator(operator, "Conv2D", inputs, **options), call.layer.activation)


def _window(layer: Any) -> dict[str, int]:
    """Return the options that convolutions and pools have in common."""
    return {"padding": PADDINGS[layer.padding], "strideH": layer.strides[0], "strideW": layer.strides[1]}


def _kernel_and_bias(call: LayerCall) -> list[Array]:
    """Return the constants of a convolution, with its batch-normalization folded in."""
    layer, batch_norms = call.layer, call.translation.batch_norms
    if id(layer) in batch_norms:
        return folded_weights(layer, batch_norms[id(layer)])
    kernel, *bias = layer.get_weights()
    return [kernel, *(bias or [np.zeros(call.shape[-1], np.float32)])]


def _pool(operator: str) -> Translate:
    def translate_pool(call: LayerCall) -> Computed:
        height, width = call.layer.pool_size
        return call.operator(
            operator, "Pool", call.indices, filterHeight=height, filterWidth=width, **_window(call.layer)
        )

    return translate_pool


def _global_average(call: LayerCall) -> Computed:
    axes = call.constant("axes", np.array([1, 2], np.int32))
    return call.operator("MEAN", "Mean", [*call.indices, axes], keepDims=bool(call.layer.keepdims))


def _concatenation(call: LayerCall) -> Computed:
    last = len(call.shape) - 1
    if call.layer.axis not in (-1, last):
        raise UntranslatableError
    return call.operator("CONCATENATION", "Concat", call.indices, axis=last)


def _sum(call: LayerCall) -> Computed:
    if len(call.inputs) != 2 or call.tensors[0].shape != call.tensors[1].shape:
        raise UntranslatableError
    return call.operator("ADD", "Add", call.indices)


def _scaled_sum(call: LayerCall) -> Computed:
    """Translate the sum in Keras' own residual blocks, x + scale * branch: scale the branch's last convolution."""
    branch, writer = call.inputs[1], call.translation.writer
    if branch.kind != "CONV_2D" or not branch.can_activate or not call.is_only_reader(1):
        raise UntranslatableError
    for constant in branch.operator.inputs[1:]:
        writer.scale(constant, call.layer.scale)
    return _sum(call)


def _dense(call: LayerCall) -> Computed:
    if len(call.shape) != 2:
        raise UntranslatableError
    kernel, *bias = call.layer.get_weights()
    bias = bias or [np.zeros(call.shape[-1], np.float32)]
    inputs = [*call.indices, call.constant("kernel", kernel.T), call.constant("bias", bias[0])]
    return call.activated(call.operator("FULLY_CONNECTED", "MatMul", inputs), call.layer.activation)


TRANSLATIONS: dict[str, Translate] = {
    "InputLayer": _input,
    "Conv2D": _convolution,
    "DepthwiseConv2D": _depthwise,
    "BatchNormalization": _batch_norm,
    "Activation": _activation,
    "ReLU": _relu,
    "Softmax": _softmax,
    "MaxPooling2D": _pool("MAX_POOL_2D"),
    "AveragePooling2D": _pool("AVERAGE_POOL_2D"),
    "GlobalAveragePooling2D": _global_average,
    "Concatenate": _concatenation,
    "Add": _sum,
    "CustomScaleLayer": _scaled_sum,
    "Dense": _dense,
    "Dropout": _same,
}
"""Class names of Keras' own layers, and the functions that translate their calls."""
