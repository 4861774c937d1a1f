"""Defects of quantized graphs, each a function that damages a sound graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from convert.tflite.graph import TfliteGraph

BUILTIN = schema.BuiltinOperator
TYPES = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int4": schema.TensorType.INT4}


def tensor_of(graph: TfliteGraph, index: int) -> Any:
    return graph._graph.tensors[index]


def weights_of(graph: TfliteGraph, position: int = 2) -> int:
    return graph.named("CONV_2D")[position].weights


def set_scale(index_of: Callable[[TfliteGraph], int], scale: float) -> Callable[[TfliteGraph], None]:
    def damage(graph: TfliteGraph) -> None:
        quantization = tensor_of(graph, index_of(graph)).quantization
        quantization.scale = np.asarray(quantization.scale, np.float32).copy()
        quantization.scale[0] = scale

    return damage


def activation(graph: TfliteGraph) -> int:
    return graph.named("ADD")[0].outputs[0]


def set_zero_point(index_of: Callable[[TfliteGraph], int], zero_point: int) -> Callable[[TfliteGraph], None]:
    def damage(graph: TfliteGraph) -> None:
        quantization = tensor_of(graph, index_of(graph)).quantization
        quantization.zeroPoint = np.full(len(quantization.zeroPoint), zero_point, np.int64)

    return damage


def give_one_scale(graph: TfliteGraph) -> None:
    quantization = tensor_of(graph, weights_of(graph)).quantization
    quantization.scale, quantization.zeroPoint = quantization.scale[:1], quantization.zeroPoint[:1]


def drop_a_scale(graph: TfliteGraph) -> None:
    quantization = tensor_of(graph, weights_of(graph)).quantization
    quantization.scale = quantization.scale[:-1]


def scale_a_channel(factor: float) -> Callable[[TfliteGraph], None]:
    def damage(graph: TfliteGraph) -> None:
        values = graph.constant(weights_of(graph)).copy()
        values[1] = np.round(values[1] * factor).astype(np.int8)
        graph.set_constant(weights_of(graph), values)

    return damage


def cut_off_a_bias(graph: TfliteGraph) -> None:
    bias = graph.named("CONV_2D")[2].bias
    assert bias is not None
    values = graph.constant(bias).copy()
    values[1] = np.iinfo(np.int32).min
    graph.set_constant(bias, values)


def make_dynamic(graph: TfliteGraph) -> None:
    tensor_of(graph, graph.inputs[0]).shapeSignature = [-1, 16, 20, 3]


def make_custom(graph: TfliteGraph) -> None:
    softmax = graph._model.operatorCodes[graph._graph.operators[-1].opcodeIndex]
    softmax.builtinCode = softmax.deprecatedBuiltinCode = BUILTIN.CUSTOM
    softmax.customCode = b"FlexSoftmax"


def make_int4(graph: TfliteGraph) -> None:
    values = graph.constant(weights_of(graph)).reshape(-1).copy()
    values = np.clip(values // 16, -7, 7).astype(np.int8).view(np.uint8)
    tensor_of(graph, weights_of(graph)).type = TYPES["int4"]
    buffer = graph._buffer(weights_of(graph))
    buffer.data = (values[::2] & 15) | (values[1::2] << 4)


def insert(graph: TfliteGraph, before: int, kind: int, dtype: str, constant: float | None = None) -> int:
    """Put an operator between a tensor and all its consumers, and return the tensor that it writes."""
    readers = [operator for operator in graph._graph.operators if before in operator.inputs]
    code, made, operator = schema.OperatorCodeT(), schema.TensorT(), schema.OperatorT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), 1
    made.name, made.type, made.buffer = b"inserted%d" % len(graph.tensors), TYPES[dtype], 0
    made.shape = list(graph.shape(before))
    if dtype == "int8":
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = np.float32([0.1]), np.int64([3])
    graph._model.operatorCodes.append(code)
    graph._graph.tensors.append(made)
    written = graph.tensors[-1]
    operator.inputs, operator.outputs = [before], [written]
    if constant is not None:
        factor, buffer = schema.TensorT(), schema.BufferT()
        buffer.data = np.frombuffer(np.float32([constant]).tobytes(), np.uint8)
        graph._model.buffers.append(buffer)
        factor.name, factor.type, factor.shape = b"k", TYPES["float32"], [1]
        factor.buffer = len(graph._model.buffers) - 1
        graph._graph.tensors.append(factor)
        operator.inputs = [before, graph.tensors[-1]]
    operator.opcodeIndex = len(graph._model.operatorCodes) - 1
    for reader in readers:
        reader.inputs = [written if index == before else index for index in reader.inputs]
    position = min(graph._graph.operators.index(reader) for reader in readers)
    graph._graph.operators.insert(position, operator)
    return written


def insert_a_round_trip(graph: TfliteGraph) -> None:
    insert(graph, insert(graph, activation(graph), BUILTIN.DEQUANTIZE, "float32"), BUILTIN.QUANTIZE, "int8")


def insert_a_float_island(graph: TfliteGraph) -> None:
    real = insert(graph, activation(graph), BUILTIN.DEQUANTIZE, "float32")
    bent = insert(graph, insert(graph, real, BUILTIN.EXP, "float32"), BUILTIN.NEG, "float32")
    insert(graph, bent, BUILTIN.QUANTIZE, "int8")


DAMAGES = {
    "zero scale of an activation": (set_scale(activation, 0.0), "scale-invalid", "error"),
    "zero scale of one channel": (set_scale(weights_of, 0.0), "scale-invalid", "error"),
    "denormal scale": (set_scale(weights_of, 1e-40), "scale-invalid", "error"),
    "scale that is not a number": (set_scale(activation, np.nan), "scale-invalid", "error"),
    "infinite scale": (set_scale(activation, np.inf), "scale-invalid", "error"),
    "scale of 1e36": (set_scale(activation, 1e36), "scale-huge", "error"),
    "a scale too few": (drop_a_scale, "scale-count", "error"),
    "zero point that int8 has not": (set_zero_point(activation, 128), "zero-point-invalid", "error"),
    "zero point of weights": (set_zero_point(weights_of, 1), "zero-point-invalid", "error"),
    "one scale for all channels": (give_one_scale, "weights-per-tensor", "warning"),
    "weights within a third of their range": (scale_a_channel(0.33), "weights-hardly-used", "warning"),
    "a channel of zeros": (scale_a_channel(0.0), "weights-zero", "note"),
    "a bias of more than 32 bits": (cut_off_a_bias, "bias-saturated", "warning"),
    "a batch known at run time": (make_dynamic, "shape-dynamic", "warning"),
    "an operator of TensorFlow": (make_custom, "operator-custom", "warning"),
    "weights of 4 bits": (make_int4, "type-narrow", "note"),
    "a round trip through float": (insert_a_round_trip, "round-trip", "warning"),
    "float operators between integers": (insert_a_float_island, "float-island", "warning"),
}
