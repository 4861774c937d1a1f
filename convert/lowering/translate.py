"""Keras layers -> TFLite operators, one by one, for networks made of the few kinds of layers that have one each.

TFLiteConverter takes half a minute and gigabytes for what is 240 MB of constants and three hundred operators. Inception
networks need no compiler: a convolution is a CONV_2D, what follows it goes inside. Anything that is not in
`TRANSLATIONS`, or has an option that its entry does not know, is left to TFLiteConverter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from convert.lowering.batch_norm_folding import foldable_pairs, folded_weights
from convert.tflite.float_writer import FloatWriter
from convert.tflite.schema import SCHEMA

PADDINGS = {"same": SCHEMA.Padding.SAME, "valid": SCHEMA.Padding.VALID}
NONE, RELU, RELU6 = (getattr(SCHEMA.ActivationFunctionType, name) for name in ("NONE", "RELU", "RELU6"))
FUSED = {keras.activations.linear: NONE, keras.activations.relu: RELU, keras.activations.relu6: RELU6}
"""Activations that an operator can compute after itself."""


class UntranslatableError(Exception):
    """A layer, or an option of one, that has no operator here."""


def translate(model: keras.Model) -> bytes | None:
    """A float `.tflite` with the answers of `model`; None when it has to be left to TFLiteConverter.

    Args:
        model: a functional model in float32 of one image, channels last; batch-normalizations behind convolutions are
            folded (see `convert.lowering.batch_norm_folding`).

    Returns:
        A flatbuffer with static batch 1, signature `serving_default`, `image` -> `probabilities`. Tensors are called
        MODEL/LAYER/KIND, after the last layer that went into the operator which computes them.
    """
    try:
        return _Translation(model).finish()
    except UntranslatableError:
        return None


@dataclass(frozen=True)
class Computed:
    """A tensor of the flatbuffer, the operator that computes it, and that operator's kind ("" for the input)."""

    index: int
    kind: str = ""
    operator: Any = field(default=None, compare=False)

    @property
    def is_open(self) -> bool:
        """Whether its operator can still take an activation."""
        options = getattr(self.operator, "builtinOptions", None)
        return getattr(options, "fusedActivationFunction", None) == NONE and "POOL" not in self.kind


class _Translation:
    """One model on its way; keeps which tensor of the flatbuffer each of Keras' tensors has become."""

    def __init__(self, model: keras.Model) -> None:
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise UntranslatableError
        self.model, self.writer = model, FloatWriter()
        pairs = foldable_pairs(model)
        self.batch_norms = {id(convolution): batch_norm for convolution, batch_norm in pairs}
        self.folded = {id(batch_norm) for _, batch_norm in pairs}
        nodes = list(_nodes(model.outputs[0]))
        self.readers = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
        self.computed: dict[int, Computed] = {}
        for node in nodes:
            self._translate(node)

    def finish(self) -> bytes:
        image, probabilities = self.computed[id(self.model.inputs[0])], self.computed[id(self.model.outputs[0])]
        if not probabilities.kind:
            raise UntranslatableError
        return self.writer.finish(image.index, probabilities.index)

    def _translate(self, node: Any) -> None:
        layer, output = node.operation, node.outputs[0]
        translation = TRANSLATIONS.get(type(layer).__name__)
        if translation is None or not isinstance(layer, layers.Layer) or layer.compute_dtype != "float32":
            raise UntranslatableError
        if not type(layer).__module__.startswith("keras.src."):
            raise UntranslatableError
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise UntranslatableError
        inputs = [self.computed[id(tensor)] for tensor in node.input_tensors]
        self.computed[id(output)] = translation(self, LayerCall(layer, inputs, node.input_tensors, output))

    def is_read_once(self, tensor: Any) -> bool:
        return self.readers[id(tensor)] == 1

    def name(self, layer: Any, what: str) -> str:
        return f"{self.model.name}/{layer.name}/{what}"


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer: its inputs in the flatbuffer and in Keras, and its output in Keras."""

    layer: Any
    inputs: list[Computed]
    tensors: list[Any]
    output: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the output, with a batch of 1."""
        shape = (1, *self.output.shape[1:])
        if None in shape:
            raise UntranslatableError
        return shape


Translate = Callable[[_Translation, LayerCall], Computed]


def _nodes(output: Any) -> Iterator[Any]:
    """Calls of layers in the order of execution: all of a layer's first input before its second."""
    done: set[int] = set()
    pending = [(output, False)]
    while pending:
        tensor, is_ready = pending.pop()
        operation, node_index, _ = tensor._keras_history
        node = operation._inbound_nodes[node_index]
        if id(node) in done:
            continue
        if is_ready or not node.input_tensors:
            done.add(id(node))
            yield node
        else:
            pending.append((tensor, True))
            pending += [(source, False) for source in reversed(node.input_tensors)]


def _input(at: _Translation, step: LayerCall) -> Computed:
    return Computed(at.writer.tensor(step.layer.name, step.shape))


def _same(at: _Translation, step: LayerCall) -> Computed:
    return step.inputs[0]


def _emit(at: _Translation, step: LayerCall, kind: str, inputs: list[int], what: str, **options: Any) -> Computed:
    output = at.writer.tensor(at.name(step.layer, what), step.shape)
    return Computed(output, kind, at.writer.operator(kind, inputs, output, **options))


def _activated(at: _Translation, step: LayerCall, before: Computed, activation: Any) -> Computed:
    """`before` with an activation inside its operator where that is possible, else after it."""
    if activation is keras.activations.softmax:
        if len(step.shape) != 2:
            raise UntranslatableError
        return _emit(at, step, "SOFTMAX", [before.index], "Softmax", beta=1.0)
    fused = FUSED.get(activation)
    if fused is None:
        raise UntranslatableError
    if fused == NONE:
        return before
    kind = "RELU" if fused == RELU else "RELU6"
    if not before.is_open:
        return _emit(at, step, kind, [before.index], kind.capitalize())
    before.operator.builtinOptions.fusedActivationFunction = fused
    at.writer.rename(before.index, at.name(step.layer, kind.capitalize()))
    return before


def _activation(at: _Translation, step: LayerCall) -> Computed:
    return _activated(at, step, _own(at, step), step.layer.activation)


def _relu(at: _Translation, step: LayerCall) -> Computed:
    layer = step.layer
    if layer.negative_slope or layer.threshold or layer.max_value not in (None, 6.0):
        raise UntranslatableError
    activation = keras.activations.relu if layer.max_value is None else keras.activations.relu6
    return _activated(at, step, _own(at, step), activation)


def _own(at: _Translation, step: LayerCall) -> Computed:
    """The input of a layer with one; closed where others read it as well, since it has to stay as it is."""
    before = step.inputs[0]
    return before if at.is_read_once(step.tensors[0]) else Computed(before.index)


def _softmax(at: _Translation, step: LayerCall) -> Computed:
    if step.layer.axis != -1 or len(step.inputs) != 1:
        raise UntranslatableError
    return _activated(at, step, step.inputs[0], keras.activations.softmax)


def _batch_norm(at: _Translation, step: LayerCall) -> Computed:
    if id(step.layer) not in at.folded:
        raise UntranslatableError
    at.writer.rename(step.inputs[0].index, at.name(step.layer, "BatchNorm"))
    return step.inputs[0]


def _convolution(at: _Translation, step: LayerCall) -> Computed:
    layer = step.layer
    if layer.groups != 1:
        raise UntranslatableError
    kernel, bias = _kernel_and_bias(at, layer)
    return _windowed(at, step, "CONV_2D", kernel.transpose(3, 0, 1, 2), bias)


def _depthwise(at: _Translation, step: LayerCall) -> Computed:
    kernel, bias = _kernel_and_bias(at, step.layer)
    height, width, channels, multiplier = kernel.shape
    flat = kernel.reshape(1, height, width, channels * multiplier)
    return _windowed(at, step, "DEPTHWISE_CONV_2D", flat, bias, depthMultiplier=multiplier)


def _windowed(at: _Translation, step: LayerCall, kind: str, kernel: Any, bias: Any, **options: Any) -> Computed:
    layer = step.layer
    inputs = [
        step.inputs[0].index,
        at.writer.constant(at.name(layer, "kernel"), kernel),
        at.writer.constant(at.name(layer, "bias"), bias),
    ]
    options |= {
        "padding": PADDINGS[layer.padding],
        "strideH": layer.strides[0],
        "strideW": layer.strides[1],
        "dilationHFactor": layer.dilation_rate[0],
        "dilationWFactor": layer.dilation_rate[1],
    }
    result = _emit(at, step, kind, inputs, "Conv2D", **options)
    return _activated(at, step, result, layer.activation)


def _kernel_and_bias(at: _Translation, layer: Any) -> list[Any]:
    """What a convolution computes with, its batch-normalization included."""
    if id(layer) in at.batch_norms:
        return folded_weights(layer, at.batch_norms[id(layer)])
    kernel, *bias = layer.get_weights()
    channels = layer.filters if isinstance(layer, layers.Conv2D) else kernel.shape[-1] * kernel.shape[-2]
    return [kernel, *(bias or [np.zeros(channels, np.float32)])]


def _pool(kind: str) -> Translate:
    def translate(at: _Translation, step: LayerCall) -> Computed:
        layer = step.layer
        options = {
            "padding": PADDINGS[layer.padding],
            "filterHeight": layer.pool_size[0],
            "filterWidth": layer.pool_size[1],
            "strideH": layer.strides[0],
            "strideW": layer.strides[1],
        }
        return _emit(at, step, kind, [step.inputs[0].index], "Pool", **options)

    return translate


def _global_average(at: _Translation, step: LayerCall) -> Computed:
    axes = at.writer.constant(at.name(step.layer, "axes"), np.array([1, 2], np.int32))
    keep = bool(step.layer.keepdims)
    return _emit(at, step, "MEAN", [step.inputs[0].index, axes], "Mean", keepDims=keep)


def _concatenation(at: _Translation, step: LayerCall) -> Computed:
    if step.layer.axis not in (-1, len(step.shape) - 1):
        raise UntranslatableError
    return _emit(at, step, "CONCATENATION", [each.index for each in step.inputs], "Concat", axis=len(step.shape) - 1)


def _sum(at: _Translation, step: LayerCall) -> Computed:
    if len(step.inputs) != 2 or step.tensors[0].shape != step.tensors[1].shape:
        raise UntranslatableError
    return _emit(at, step, "ADD", [each.index for each in step.inputs], "Add")


def _scaled_sum(at: _Translation, step: LayerCall) -> Computed:
    """Keras' own residual blocks: x + scale * branch, with the scale inside the branch's last convolution."""
    branch = step.inputs[1]
    if branch.kind != "CONV_2D" or not branch.is_open or not at.is_read_once(step.tensors[1]):
        raise UntranslatableError
    for constant in branch.operator.inputs[1:]:
        at.writer.set_values(constant, at.writer.values(constant) * np.float32(step.layer.scale))
    return _sum(at, step)


def _dense(at: _Translation, step: LayerCall) -> Computed:
    layer = step.layer
    if len(step.shape) != 2:
        raise UntranslatableError
    kernel, *bias = layer.get_weights()
    inputs = [step.inputs[0].index, at.writer.constant(at.name(layer, "kernel"), kernel.T)]
    inputs.append(at.writer.constant(at.name(layer, "bias"), bias[0] if bias else np.zeros(layer.units, np.float32)))
    return _activated(at, step, _emit(at, step, "FULLY_CONNECTED", inputs, "MatMul"), layer.activation)


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
"""Kinds of Keras' own layers -> what makes operators of them."""
