"""Translate Keras layers to TFLite operators one by one, for networks made of the few kinds in `TRANSLATIONS`.

TFLiteConverter takes half a minute and gigabytes for what is 240 MB of constants and three hundred operators. Inception
networks need no compiler: a convolution is a CONV_2D that takes in what follows it. A model with another kind of layer,
or with an option that its translation does not know, is left to TFLiteConverter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from convert.keras_models.walk import calls
from convert.lowering.batch_norm_folding import foldable_pairs, folded_weights
from convert.tflite.float_writer import FloatWriter
from convert.tflite.schema import SCHEMA
from convert.tflite.tensor_names import tensor_name
from edge_runtime.arrays import Array

PADDINGS = {"same": SCHEMA.Padding.SAME, "valid": SCHEMA.Padding.VALID}
NONE, RELU, RELU6 = (getattr(SCHEMA.ActivationFunctionType, name) for name in ("NONE", "RELU", "RELU6"))
FUSED = {keras.activations.linear: NONE, keras.activations.relu: RELU, keras.activations.relu6: RELU6}
"""Activations that an operator can apply to its own output."""


class UntranslatableError(Exception):
    """A layer, or an option of one, that is not translated here."""


def translate(model: keras.Model) -> bytes | None:
    """Return a float `.tflite` that computes what `model` does, or None if it has to be left to TFLiteConverter.

    Args:
        model: a functional model in float32 of one image, channels last; batch-normalizations behind convolutions are
            folded (see `convert.lowering.batch_norm_folding`).

    Returns:
        A flatbuffer with static batch 1, signature `serving_default`, `image` -> `probabilities`. Tensors are named
        (see `convert.tflite.tensor_names`) after the last layer that went into the operator which computes them.
    """
    try:
        return _Translation(model).flatbuffer()
    except UntranslatableError:
        return None


@dataclass(frozen=True)
class Computed:
    """A tensor of the flatbuffer, the operator that computes it, and that operator's kind ("" for the input)."""

    index: int
    kind: str = ""
    operator: Any = field(default=None, compare=False)

    @property
    def can_activate(self) -> bool:
        """Return whether its operator can still take in an activation."""
        options = getattr(self.operator, "builtinOptions", None)
        return getattr(options, "fusedActivationFunction", None) == NONE and "POOL" not in self.kind


class _Translation:
    """The translation of one model: for each tensor of Keras, the tensor of the flatbuffer that it became."""

    def __init__(self, model: keras.Model) -> None:
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise UntranslatableError
        self.model, self.writer = model, FloatWriter()
        self.batch_norms = {id(convolution): batch_norm for convolution, batch_norm in foldable_pairs(model)}
        self.folded = {id(batch_norm) for batch_norm in self.batch_norms.values()}
        nodes = list(calls(model.outputs[0]))
        self.readers = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
        self.computed: dict[int, Computed] = {}
        for node in nodes:
            self.computed[id(node.outputs[0])] = self._translate(node)

    def flatbuffer(self) -> bytes:
        image, probabilities = self.computed[id(self.model.inputs[0])], self.computed[id(self.model.outputs[0])]
        if not probabilities.kind:
            raise UntranslatableError
        return self.writer.finish(image.index, probabilities.index)

    def _translate(self, node: Any) -> Computed:
        layer = node.operation
        translation = TRANSLATIONS.get(type(layer).__name__)
        if (
            translation is None
            or not isinstance(layer, layers.Layer)
            or not type(layer).__module__.startswith("keras.src.")
            or layer.compute_dtype != "float32"
            or getattr(layer, "data_format", "channels_last") != "channels_last"
        ):
            raise UntranslatableError
        inputs = [self.computed[id(tensor)] for tensor in node.input_tensors]
        return translation(LayerCall(self, layer, inputs, node.input_tensors, node.outputs[0]))


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer in a model that is being translated.

    Attributes:
        translation: of the model.
        layer: Keras' layer.
        inputs, tensors: what it reads, in the flatbuffer and in Keras.
        output: the tensor in Keras that it computes.
    """

    translation: _Translation
    layer: Any
    inputs: list[Computed]
    tensors: list[Any]
    output: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the output, with a batch of 1."""
        shape = (1, *self.output.shape[1:])
        if None in shape:
            raise UntranslatableError
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
            if len(self.shape) != 2:
                raise UntranslatableError
            return self.operator("SOFTMAX", "Softmax", [before.index], beta=1.0)
        fused = FUSED.get(activation)
        if fused is None:
            raise UntranslatableError
        if fused == NONE:
            return before
        operator = "RELU" if fused == RELU else "RELU6"
        if not before.can_activate:
            return self.operator(operator, operator.capitalize(), [before.index])
        before.operator.builtinOptions.fusedActivationFunction = fused
        return self.rename(before, operator.capitalize())


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
        writer.set_values(constant, writer.values(constant) * np.float32(call.layer.scale))
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
