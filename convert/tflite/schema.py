"""Parts of a `.tflite` in the schema's object interface: made, put into a model, and the model written down."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert.tools import flatbuffer_utils

from edge_runtime.arrays import Array

SCHEMA = flatbuffer_utils.schema_fb

OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "RELU": None,
    "RELU6": None,
    "SOFTMAX": "SoftmaxOptions",
}
"""Operators, and the tables of the schema that hold their options; all in version 1."""


def add_buffer(model: Any, values: Array | None) -> int:
    """A buffer of a model: its index; empty where there are no values."""
    buffer = SCHEMA.BufferT()
    buffer.data = None if values is None else as_bytes(values)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def as_bytes(values: Array) -> Array:
    """Values as a buffer holds them."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def add_tensor(graph: Any, name: str, shape: Any, dtype: str, buffer: int) -> int:
    """A tensor of a subgraph: its index; `dtype` is "float32" or "int32"."""
    tensor = SCHEMA.TensorT()
    tensor.name, tensor.shape, tensor.type = name.encode(), np.array(shape, np.int32), _TYPES[dtype]
    tensor.buffer, tensor.hasRank = buffer, True
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


_TYPES = {"float32": SCHEMA.TensorType.FLOAT32, "int32": SCHEMA.TensorType.INT32}


def new_operator(model: Any, kind: str, inputs: list[int], output: int, **options: Any) -> Any:
    """An operator in version 1, in no subgraph yet.

    Args:
        model: that gets the operator's code, where it has none yet.
        kind: key of `OPTIONS`.
        inputs, output: tensor indices.
        options: other than the schema's defaults.
    """
    operator = SCHEMA.OperatorT()
    operator.opcodeIndex = _code(model, getattr(SCHEMA.BuiltinOperator, kind))
    operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
    table = OPTIONS[kind]
    if table is not None:
        operator.builtinOptionsType = getattr(SCHEMA.BuiltinOptions, table)
        operator.builtinOptions = getattr(SCHEMA, f"{table}T")()
        for name, value in options.items():
            assert hasattr(operator.builtinOptions, name)
            setattr(operator.builtinOptions, name, value)
    return operator


def _code(model: Any, builtin: int) -> int:
    """Index of an operator's code in version 1."""
    for i, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == 1:
            return i
    code = SCHEMA.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def set_metadata(model: Any, name: str, content: bytes) -> None:
    """Add or replace a metadata entry of a model."""
    entry = SCHEMA.MetadataT()
    entry.name, entry.buffer = name.encode(), add_buffer(model, np.frombuffer(content, np.uint8))
    others = [other for other in model.metadata or [] if other.name not in (name, name.encode())]
    model.metadata = [*others, entry]


def to_flatbuffer(model: Any) -> bytes:
    """The model as a file: a builder of the right size, since one that grows copies."""
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = flatbuffers.Builder(size + size // 64 + 2**20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(memoryview(builder.Bytes)[builder.Head() :])
