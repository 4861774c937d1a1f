"""Biases that do not fit their integers, and scales of weights raised until they do.

An integer bias has the scale of what is added to it, input scale * weight scale, and the latter comes from the largest
weight. A filter that weight decay or pruning left with tiny weights and a large bias has a scale so small that its bias
would need more bits than it has: saturated, it stands for about zero. So such a channel gets the least scale of weights
under which its bias fits, as in TensorFlow's converter. That costs its weights nothing that can be seen: they are too
small to show in the output beside such a bias.

The kernels multiply the sum by input scale * weight scale / output scale as a fixed-point number, which is 0 below
2**-32 (`QuantizeMultiplier`, tensorflow/lite/kernels/internal/quantization_util.cc): biases of more than 32 bits can
vanish there, too.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import CHANNEL_AXIS, Operator

Doubles = npt.NDArray[np.float64]

LARGEST_BIAS = {"int32": 2.0**30, "int64": 2.0**38}
"""Type of a bias -> the largest that is left alone.

The other half of int32 is for sums and corrections, as in TensorFlow's converter; accelerators keep 64-bit biases in 40
bits (Ethos-U), and half of those are left free as well.
"""
LEAST_MULTIPLIER = 2.0**-31
"""The least input scale * weight scale / output scale of a channel whose bias shows in the output."""
LARGEST_WEIGHT = 127


@dataclass(frozen=True)
class RaisedScales:
    """How many filters (output channels) had weights too small for their bias.

    Attributes:
        filters: those whose scale was raised.
        of: all filters with an integer bias.
        layers: outputs of the operators with such filters -> how many.
    """

    filters: int = 0
    of: int = 0
    layers: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return one line for users; "" where no scale was raised."""
        if not self.filters:
            return ""
        have, scale = ("has", "its scale was") if self.filters == 1 else ("have", "their scales were")
        bias = "its bias" if self.filters == 1 else "their bias"
        return f"{self.filters:,} of {self.of:,} filters {have} weights too small for {bias}: {scale} raised"


def fit_biases(quantized: TfliteGraph, float_graph: TfliteGraph) -> RaisedScales:
    """Raise the scale of int8 weights, in place, where their integer bias does not fit.

    `float_graph` is the network that was quantized: the same operators with weights, in the same order.
    """
    readers = defaultdict[int, list[tuple[Operator, Operator]]](list)
    for kind in CHANNEL_AXIS:
        for operator, source in zip(quantized.named(kind), float_graph.named(kind), strict=True):
            if _has_integer_bias(quantized, operator):
                readers[operator.weights].append((operator, source))
    layers, filters = dict[str, int](), 0
    for weights, pairs in readers.items():
        filters += quantized.shape(weights)[pairs[0][0].channel_axis]
        raised = _raise_scales(quantized, float_graph, pairs)
        if raised:
            layers[float_graph.tensor_name(pairs[0][1].outputs[0])] = raised
        for operator, source in pairs:
            _fit_bias(quantized, operator, _bias(float_graph, source))
    return RaisedScales(sum(layers.values()), filters, layers)


def _has_integer_bias(graph: TfliteGraph, operator: Operator) -> bool:
    bias = operator.bias
    return (
        bias is not None
        and graph.is_constant(bias)
        and graph.dtype(bias) in LARGEST_BIAS
        and graph.dtype(operator.weights) == "int8"
    )


def _raise_scales(quantized: TfliteGraph, float_graph: TfliteGraph, pairs: list[tuple[Operator, Operator]]) -> int:
    """Raise the scales of one tensor of weights as far as all its readers need; return of how many channels."""
    operator, source = pairs[0]
    scales = quantized.scales(operator.weights)
    assert scales is not None
    least = np.maximum.reduce([least_scales(quantized, op, _bias(float_graph, origin)) for op, origin in pairs])
    if len(scales) == 1:
        least = least.max(keepdims=True)
    raised = least > scales
    if np.any(raised):
        scales = np.where(raised, least, scales).astype(np.float32)
        shape = [1] * len(quantized.shape(operator.weights))
        shape[operator.channel_axis] = len(scales)
        integers = np.rint(float_graph.constant(source.weights) / scales.reshape(shape).astype(np.float64))
        fitting = np.clip(integers, -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8)
        kept = quantized.constant(operator.weights)
        quantized.set_constant(operator.weights, np.where(raised.reshape(shape), fitting, kept))
        quantized.set_scales(operator.weights, scales)
    return int(raised.sum())


def least_scales(graph: TfliteGraph, operator: Operator, bias: Doubles) -> Doubles:
    """Return the least scale of each channel's weights, (out,), under which its bias fits and shows, if it can."""
    assert operator.bias is not None
    fits = np.abs(bias) / LARGEST_BIAS[graph.dtype(operator.bias)]
    output = _scale(graph, operator.outputs[0])
    shows = np.where(np.abs(bias) >= output / 2, output * LEAST_MULTIPLIER, 0)
    return np.asarray(np.maximum(fits, shows) / _scale(graph, operator.data))


def _fit_bias(graph: TfliteGraph, operator: Operator, bias: Doubles) -> None:
    """Write a bias again where the weights have other scales than it was made for, or the quantizer saturated it.

    litert-quantizer clips biases to 32 bits before it stores them in 64.
    """
    assert operator.bias is not None
    weights, before = graph.scales(operator.weights), graph.scales(operator.bias)
    assert weights is not None
    assert before is not None
    scales = (_scale(graph, operator.data) * weights.astype(np.float64)).astype(np.float32)
    stored, limits = graph.constant(operator.bias), np.iinfo(np.int32)
    raised = weights > before.astype(np.float64) / _scale(graph, operator.data) * (1 + 1e-5)
    wrong = raised | (stored <= limits.min) | (stored >= limits.max)
    if np.any(wrong):
        integers = np.rint(bias / np.where(wrong, scales, before).astype(np.float64)).astype(stored.dtype)
        graph.set_constant(operator.bias, np.where(wrong, integers, stored))
        graph.set_scales(operator.bias, np.where(wrong, scales, before).astype(np.float32))


def _bias(float_graph: TfliteGraph, source: Operator) -> Doubles:
    assert source.bias is not None
    return float_graph.constant(source.bias).astype(np.float64)


def _scale(graph: TfliteGraph, tensor: int) -> float:
    quantization = graph.quantization(tensor)
    assert quantization is not None
    return quantization[0]
