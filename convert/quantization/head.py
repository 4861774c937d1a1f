"""The head of a quantized network: pool, the last dense layer, softmax or sigmoids, computed in float.

Its weights are int8 in the file. Kernels that read them as such either round the input as well, or take the scale of
the first channel for all of them (runtimes up to TensorFlow 2.15). So a DEQUANTIZE unpacks them, which every runtime
does once, when it opens the model; and the scales of the channels follow the layer:

    logits = ((q . x) + bias / scale) * scale        q int8 (classes, in), scale (classes,)
"""

from __future__ import annotations

import numpy as np

from convert.quantization.dense_layers import RESHAPES
from convert.quantization.gptq import LEAST_PEAK, STEPS
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import logits_tensor
from convert.tflite.operators import DENSE, Operator
from convert.tflite.rewriting import GraphEditor
from edge_runtime.arrays import Array

INTEGERS = "int8"
"""Ends of the name of the weights as they are stored."""


def store_in_int8(quantized: TfliteGraph) -> bytes:
    """Return a model whose head's weights, float32 until now, are stored in int8, rounded to nearest.

    The tensor of the logits keeps its name. Models without a float head with weights are returned as they are.
    """
    graph = GraphEditor(quantized.to_bytes())
    layer = head_layer(graph)
    if layer is None or graph.dtype(layer.weights) != "float32" or layer.fused_activation != "NONE":
        return graph.to_bytes()
    weights = graph.constant(layer.weights)
    scales = np.maximum(np.abs(weights).max(axis=1), np.float32(LEAST_PEAK)) / np.float32(STEPS)
    integers = np.rint(weights / scales[:, np.newaxis]).astype(np.int8)
    name, output, at = graph.tensor_name(layer.weights), layer.outputs[0], layer.position
    stored = graph.add_constant(f"{name}/{INTEGERS}", integers, scale=1.0)
    unpacked = graph.add_operator("DEQUANTIZE", [stored], weights.shape, f"{name}/unpacked", at)
    graph.set_input_of(at + 1, 1, unpacked)
    if layer.bias is not None:
        graph.set_input_of(at + 1, 2, graph.add_constant(f"{name}/bias", graph.constant(layer.bias) / scales))
    logits, factors = graph.tensor_name(output), graph.add_constant(f"{name}/scales", scales)
    readers = graph.consumers(output)
    graph.rename(output, f"{logits}/unscaled")
    scaled = graph.add_operator("MUL", [output, factors], graph.shape(output), logits, at + 2)
    for reader in readers:
        graph.set_input_of(reader.position + 1, reader.inputs.index(output), scaled)
    graph.drop_unused()
    return graph.to_bytes()


def head_layer(graph: TfliteGraph) -> Operator | None:
    """Return the dense layer that computes the logits, its bias a constant; None where something else does."""
    operator = graph.producer(logits_tensor(graph))
    while operator is not None and (operator.name in RESHAPES or _scales_channels(graph, operator)):
        operator = graph.producer(operator.inputs[0])
    if operator is None or operator.name != DENSE:
        return None
    return operator if operator.bias is None or graph.is_constant(operator.bias) else None


def scales_behind(graph: TfliteGraph, layer: Operator) -> Array:
    """Return the factors that the outputs of a dense layer are multiplied by, (out,) or (); 1 where they are not."""
    for reader in graph.consumers(layer.outputs[0]):
        if _scales_channels(graph, reader):
            return graph.constant(reader.inputs[1])
    return np.array(1, np.float32)


def _scales_channels(graph: TfliteGraph, operator: Operator) -> bool:
    """Return whether an operator multiplies what another computed by float constants."""
    if operator.name != "MUL" or not graph.is_constant(operator.inputs[1]):
        return False
    return graph.dtype(operator.inputs[1]) == "float32" and operator.fused_activation == "NONE"
