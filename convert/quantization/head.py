"""The head of a quantized network: pool, the last dense layer, softmax or sigmoids, computed in float.

Its weights are int8 in the file, with a scale for each class. Kernels that read such weights round the layer's input as
well, and take the scale of the first class for all of them in runtimes up to TensorFlow 2.15. So a DEQUANTIZE unpacks
them, which every runtime that was measured does once, when it opens the model.

LiteRT's GPU does not unpack integers, but half precision. Where that makes the file no more than `FEW` larger, as of an
Inception-ResNet-V2, weights are float16, and the artifact runs there, too.
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

FEW = 1 / 32
"""Weights of the head for each byte of the other constants."""

LARGEST_HALF = float(np.finfo(np.float16).max)


def store_compactly(quantized: TfliteGraph, mean: Array | None = None) -> bytes:
    """Return a model whose head's weights, float32 until now, are int8 in the file, or float16 where they are few.

    The bias takes back what rounding adds on average, if `mean`, (in,), is that of what the layer reads. Models whose
    logits no dense layer computes in float from constants are returned as they are.
    """
    graph = GraphEditor(quantized.to_bytes())
    layer = head_layer(graph)
    if layer is None or not graph.is_constant(layer.weights) or graph.dtype(layer.weights) != "float32":
        return graph.to_bytes()
    weights, name = graph.constant(layer.weights), graph.tensor_name(layer.weights)
    others = sum(graph.constant(i).nbytes for i in graph.tensors if graph.is_constant(i) and i != layer.weights)
    if weights.size <= FEW * others:
        kept, stored = _in_float16(graph, weights, name)
    else:
        kept, stored = _in_int8(graph, weights, name)
    unpacked = graph.add_operator("DEQUANTIZE", [stored], weights.shape, f"{name}/unpacked", layer.position)
    graph.set_input_of(layer.position + 1, layer.inputs.index(layer.weights), unpacked)
    if mean is not None and layer.bias is not None and graph.is_constant(layer.bias):
        graph.set_constant(layer.bias, (graph.constant(layer.bias) - (kept - weights) @ mean).astype(np.float32))
    graph.drop_unused()
    return graph.to_bytes()


def _in_int8(graph: GraphEditor, weights: Array, name: str) -> tuple[Array, int]:
    """Add weights rounded to nearest with a scale a class; return them, float64 (classes, in), and their tensor."""
    scales = np.maximum(np.abs(weights).max(axis=1), np.float32(LEAST_PEAK)) / np.float32(STEPS)
    integers = np.rint(weights / scales[:, np.newaxis]).astype(np.int8)
    kept = integers * np.float64(scales[:, np.newaxis])
    return kept, graph.add_constant(f"{name}/int8", integers, scales)


def _in_float16(graph: GraphEditor, weights: Array, name: str) -> tuple[Array, int]:
    """Add weights in half precision; return them, float64 (classes, in), and their tensor."""
    halves = weights.clip(-LARGEST_HALF, LARGEST_HALF).astype(np.float16)
    return halves.astype(np.float64), graph.add_constant(f"{name}/float16", halves)


def head_layer(graph: TfliteGraph) -> Operator | None:
    """Return the dense layer that computes the logits; None where something else does."""
    operator = graph.producer(logits_tensor(graph))
    while operator is not None and operator.name in RESHAPES:
        operator = graph.producer(operator.inputs[0])
    return operator if operator is not None and operator.name == DENSE else None
