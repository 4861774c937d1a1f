"""Bias correction of quantized convolutions and of the float head.

Rounding changes weights by dW. The inputs of a convolution are mostly non-negative here, so its effect does not cancel:
it shifts output channel o by sum_i dW[o, i] * E[x_i] (Nagel et al. 2019, "Data-Free Quantization Through Weight
Equalization and Bias Correction", arXiv:1906.04721, section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convert.quantization.head import head_layer
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import logits_tensor
from convert.tflite.operators import CLASSIFIER_KINDS, CONVOLUTION, DEPTHWISE
from convert.tflite.piecewise import values_over
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels
from edge_runtime.specs import TensorSpec
from edge_runtime.tensors import encode

BIAS_DTYPES = {"int32": 2.0**31, "int64": 2.0**47}
"""Data type of a bias -> how far it reaches from zero: the kernels multiply 48 of the 64 bits."""
MOST_IMAGES = 64
"""The largest number of images that the head is corrected on: with 32, a MobileNetV2 had 0.3 dB less than with 100."""


def correct_weight_rounding(quantized: TfliteGraph, float_graph: TfliteGraph, means: dict[str, Array]) -> None:
    """Subtract from every integer bias of `quantized` what the rounding of its weights adds on average.

    Biases are int32 where activations have 8 bits, and int64 where they have 16.
    `means` holds the mean of every channel, (channels,), of each activation of the float graph, by tensor name.
    """
    for kind in CLASSIFIER_KINDS:
        for operator, source in zip(quantized.named(kind), float_graph.named(kind), strict=True):
            bias = operator.bias
            if bias is None or quantized.dtype(bias) not in BIAS_DTYPES or quantized.dtype(operator.weights) != "int8":
                continue
            scales, integers = quantized.scales(bias), quantized.constant(bias)
            if scales is not None and len(quantized.consumers(bias)) == 1:
                mean = means[float_graph.tensor_name(source.inputs[0])]
                error = quantized.dequantized(operator.weights) - float_graph.constant(source.weights)
                corrected = integers + np.rint(-output_shift(error, mean, kind) / scales)
                limit = BIAS_DTYPES[quantized.dtype(bias)]
                quantized.set_constant(bias, np.clip(corrected, -limit, limit - 1).astype(integers.dtype))


def output_shift(weight_error: Array, mean: Array, kind: str) -> Array:
    """Return the mean change of each output channel, (out,), caused by an error of an operator's weights.

    Args:
        weight_error: (out, h, w, in) of CONV_2D, (1, h, w, channels) of DEPTHWISE_CONV_2D, else (out, in).
        mean: of every channel of the input, (in,).
    """
    if kind == DEPTHWISE:
        multiplier = weight_error.shape[-1] // len(mean)
        return np.asarray(weight_error.sum(axis=(0, 1, 2)) * np.repeat(mean, multiplier))
    per_input = weight_error.sum(axis=(1, 2)) if kind == CONVOLUTION else weight_error
    groups = len(mean) // per_input.shape[1]
    group_of_output = np.arange(len(per_input)) * groups // len(per_input)
    return np.asarray(np.einsum("oi,oi->o", per_input, mean.reshape(groups, -1)[group_of_output]))


def correct_head(
    model: bytes, spec: InputSpec, input_tensor: TensorSpec, images: Sequence[Pixels], float_logits: Array
) -> bytes:
    """Subtract the mean error of the logits from the bias of the fully connected layer that computes them in float.

    It is that of the first `MOST_IMAGES` images. `model` is a quantized `.tflite` that ends in a softmax, and returned
    itself if there is no such bias; `float_logits` are the float network's for all images, (images, classes).
    """
    graph = TfliteGraph(model)
    logits = logits_tensor(graph)
    layer = head_layer(graph)
    bias = None if layer is None else layer.bias
    if bias is None or not graph.is_constant(bias) or graph.dtype(bias) != "float32":
        return model
    encoded = (encode(pixels, spec, input_tensor) for pixels in images[:MOST_IMAGES])
    found = np.stack([values.reshape(-1) for values in values_over(graph, logits, encoded)])
    error = (float_logits[: len(found)] - found).mean(axis=0, dtype=np.float64)
    graph.set_constant(bias, (graph.constant(bias) + error).astype(np.float32))
    return graph.to_bytes()
