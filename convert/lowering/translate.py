"""Translate Keras layers to TFLite operators one by one, for networks made of the few kinds in `TRANSLATIONS`.

TFLiteConverter takes half a minute and gigabytes for what is 240 MB of constants and three hundred operators. Inception
networks need no compiler: a convolution is a CONV_2D that takes in what follows it. A model with another kind of layer,
or with an option that its translation does not know, is left to TFLiteConverter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers

from convert.keras_models.walk import calls
from convert.lowering.batch_norm_folding import foldable_pairs, folded_weights
from convert.tflite.float_writer import FloatWriter
from convert.tflite.graph import tensor_name
from convert.tflite.schema import SCHEMA
from edge_runtime.arrays import Array

PADDINGS = {"same": SCHEMA.Padding.SAME, "valid": SCHEMA.Padding.VALID}
FUSED = {keras.activations.linear: "NONE", keras.activations.relu: "RELU", keras.activations.relu6: "RELU6"}
"""Activations that an operator can apply to its own output, and their names in the schema."""


class UntranslatableError(Exception):
    """A layer, or an option of one, that is not translated here."""


def require(condition: bool) -> None:
    """Raise `UntranslatableError` unless `condition` holds."""
    if not condition:
        raise UntranslatableError


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
        return Translation(model).run()
    except UntranslatableError:
        return None


@dataclass(frozen=True)
class Computed:
    """A tensor of the flatbuffer, the operator that computes it, and that operator's kind ("" for the input)."""

    index: int
    kind: str = ""
    operator: Any = None

    @property
    def can_activate(self) -> bool:
        """Return whether its operator can still take in an activation."""
        fused = getattr(getattr(self.operator, "builtinOptions", None), "fusedActivationFunction", None)
        return fused == SCHEMA.ActivationFunctionType.NONE and "POOL" not in self.kind


class Translation:
    """The translation of one model: for each tensor of Keras, the tensor of the flatbuffer that it became."""

    def __init__(self, model: keras.Model) -> None:
        require(len(model.inputs) == len(model.outputs) == 1)
        self.model, self.writer = model, FloatWriter()
        self.batch_norms = {id(convolution): batch_norm for convolution, batch_norm in foldable_pairs(model)}
        self.nodes = list(calls(model.outputs[0]))
        self.readers = Counter(id(tensor) for node in self.nodes for tensor in node.input_tensors)
        self.computed: dict[int, Computed] = {}

    def run(self) -> bytes:
        """Translate every call of a layer by the function for its class; return the flatbuffer."""
        for node in self.nodes:
            layer = node.operation
            require(type(layer).__name__ in TRANSLATIONS and _is_supported(layer))
            inputs = [self.computed[id(tensor)] for tensor in node.input_tensors]
            call = LayerCall(self, layer, inputs, node.input_tensors, node.outputs[0])
            self.computed[id(call.output)] = TRANSLATIONS[type(layer).__name__](call)
        image, probabilities = self.computed[id(self.model.inputs[0])], self.computed[id(self.model.outputs[0])]
        require(bool(probabilities.kind))
        return self.writer.finish(image.index, probabilities.index)


def _is_supported(layer: Any) -> bool:
    """Return whether it is a layer of Keras' own in float32, channels last."""
    return (
        isinstance(layer, layers.Layer)
        and type(layer).__module__.startswith("keras.src.")
        and layer.compute_dtype == "float32"
        and getattr(layer, "data_format", "channels_last") == "channels_last"
    )


@dataclass(frozen=True)
class LayerCall:
    """A call of Keras' `layer`, which reads `inputs` in the flatbuffer, `tensors` in Keras, and computes `output`."""

    translation: Translation
    layer: Any
    inputs: list[Computed]
    tensors: list[Any]
    output: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the output, with a batch of 1."""
        shape = (1, *self.output.shape[1:])
        require(None not in shape)
        return shape

    @property
    def indices(self) -> list[int]:
        """Return the tensors of the flatbuffer that it reads."""
        return [each.index for each in self.inputs]

    def is_only_reader(self, tensor: int) -> bool:
        """Return whether nothing else reads the input of that number."""
        return self.translation.readers[id(self.tensors[tensor])] == 1

    def name(self, kind: str) -> str:
        """Name a tensor after the layer."""
        return tensor_name(self.translation.model.name, self.layer.name, kind)

    def constant(self, kind: str, values: Array) -> int:
        """Add a constant; return its index."""
        return self.translation.writer.constant(self.name(kind), values)

    def rename(self, tensor: Computed, kind: str) -> Computed:
        """Rename a tensor, whose operator has taken in the layer, after the layer."""
        self.translation.writer.rename(tensor.index, self.name(kind))
        return tensor

    def operator(self, operator: str, kind: str, inputs: list[int], **options: Any) -> Computed:
        """Add an operator that computes a tensor of the output's shape from the tensors `inputs`."""
        writer = self.translation.writer
        output = writer.tensor(self.name(kind), self.shape)
        return Computed(output, operator, writer.operator(operator, inputs, output, **options))

    def activated(self, before: Computed, activation: Any) -> Computed:
        """Apply an activation to `before`, inside its operator where that is possible."""
        if activation is keras.activations.softmax:
            require(len(self.shape) == 2)
            return self.operator("SOFTMAX", "Softmax", [before.index], beta=1.0)
        if activation is keras.activations.sigmoid:
            return self.operator("LOGISTIC", "Sigmoid", [before.index])
        require(activation in FUSED)
        operator = FUSED[activation]
        if operator == "NONE":
            return before
        if not before.can_activate:
            return self.operator(operator, operator.capitalize(), [before.index])
        before.operator.builtinOptions.fusedActivationFunction = getattr(SCHEMA.ActivationFunctionType, operator)
        return self.rename(before, operator.capitalize())


def _input(call: LayerCall) -> Computed:
    return Computed(call.translation.writer.tensor(call.layer.name, call.shape))


def _dropout(call: LayerCall) -> Computed:
    return call.inputs[0]


def _activation(call: LayerCall) -> Computed:
    return _activated_input(call, call.layer.activation)


def _relu(call: LayerCall) -> Computed:
    layer = call.layer
    require(not layer.negative_slope and not layer.threshold and layer.max_value in (None, 6.0))
    return _activated_input(call, keras.activations.relu if layer.max_value is None else keras.activations.relu6)


def _activated_input(call: LayerCall, activation: Any) -> Computed:
    """Apply an activation to the input: in its operator, unless another layer needs the input as it is."""
    before = call.inputs[0]
    return call.activated(before if call.is_only_reader(0) else Computed(before.index), activation)


def _softmax(call: LayerCall) -> Computed:
    require(call.layer.axis == -1 and len(call.inputs) == 1)
    return call.activated(call.inputs[0], keras.activations.softmax)


def _batch_norm(call: LayerCall) -> Computed:
    require(call.layer in call.translation.batch_norms.values())
    return call.rename(call.inputs[0], "BatchNorm")


def _convolution(call: LayerCall) -> Computed:
    require(call.layer.groups == 1)
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
    """Return the constants of a convolution or dense layer, with its batch-normalization folded in."""
    layer, batch_norms = call.layer, call.translation.batch_norms
    if id(layer) in batch_norms:
        return folded_weights(layer, batch_norms[id(layer)])
    kernel, *bias = layer.get_weights()
    return [kernel, *(bias or [np.zeros(call.shape[-1], np.float32)])]


def _pool(operator: str, call: LayerCall) -> Computed:
    height, width = call.layer.pool_size
    return call.operator(operator, "Pool", call.indices, filterHeight=height, filterWidth=width, **_window(call.layer))


def _global_average(call: LayerCall) -> Computed:
    axes = call.constant("axes", np.array([1, 2], np.int32))
    return call.operator("MEAN", "Mean", [*call.indices, axes], keepDims=bool(call.layer.keepdims))


def _concatenation(call: LayerCall) -> Computed:
    last = len(call.shape) - 1
    require(call.layer.axis in (-1, last))
    return call.operator("CONCATENATION", "Concat", call.indices, axis=last)


def _sum(call: LayerCall) -> Computed:
    require(len(call.inputs) == 2 and call.tensors[0].shape == call.tensors[1].shape)
    return call.operator("ADD", "Add", call.indices)


def _scaled_sum(call: LayerCall) -> Computed:
    """Translate the sum in Keras' own residual blocks, x + scale * branch: scale the branch's last convolution."""
    branch, writer = call.inputs[1], call.translation.writer
    require(branch.kind == "CONV_2D" and branch.can_activate and call.is_only_reader(1))
    for constant in branch.operator.inputs[1:]:
        writer.scale(constant, call.layer.scale)
    return _sum(call)


def _dense(call: LayerCall) -> Computed:
    require(len(call.shape) == 2)
    kernel, bias = _kernel_and_bias(call)
    inputs = [*call.indices, call.constant("kernel", kernel.T), call.constant("bias", bias)]
    return call.activated(call.operator("FULLY_CONNECTED", "MatMul", inputs), call.layer.activation)


TRANSLATIONS: dict[str, Callable[[LayerCall], Computed]] = {
    "InputLayer": _input,
    "Conv2D": _convolution,
    "DepthwiseConv2D": _depthwise,
    "BatchNormalization": _batch_norm,
    "Activation": _activation,
    "ReLU": _relu,
    "Softmax": _softmax,
    "MaxPooling2D": partial(_pool, "MAX_POOL_2D"),
    "AveragePooling2D": partial(_pool, "AVERAGE_POOL_2D"),
    "GlobalAveragePooling2D": _global_average,
    "Concatenate": _concatenation,
    "Add": _sum,
    "CustomScaleLayer": _scaled_sum,
    "Dense": _dense,
    "Dropout": _dropout,
}
"""Class names of Keras' own layers, and the functions that translate their calls."""
