"""Parts of a `.tflite` in the object interface of LiteRT's flatbuffer schema: made, added to a model, serialized.

Models, subgraphs and operators are the schema's generated `ModelT`, `SubGraphT` and `OperatorT`
(tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

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
    "DEQUANTIZE": "DequantizeOptions",
    "DIV": "DivOptions",
    "ELU": None,
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GELU": "GeluOptions",
    "HARD_SWISH": "HardSwishOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "LOGISTIC": None,
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "PRELU": None,
    "RELU": None,
    "RELU6": None,
    "RESHAPE": "ReshapeOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "RSQRT": None,
    "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
    "SUB": "SubOptions",
    "TANH": None,
    "TRANSPOSE": "TransposeOptions",
}
"""Operators that can be made, and the tables of the schema that hold their options."""

VERSIONS = {"DEQUANTIZE": 5, "RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 3}
"""Versions of operators, where it is not 1: the first that know a scale for each channel, and half-pixel centres."""

SUB_BYTE_BITS = {"int4": 4, "uint4": 4, "int2": 2}


def names_of(enumeration: Any) -> dict[int, str]:
    """Return the names of an enumeration of the schema by their values."""
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


def as_bytes(values: Array) -> Array:
    """Return values as a buffer stores them: uint8, one dimension."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def from_bytes(data: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """Return the values that a buffer stores; those of less than a byte as int8, unpacked from the low bits upwards."""
    if dtype not in SUB_BYTE_BITS:
        return data.view(dtype).reshape(shape)
    bits = SUB_BYTE_BITS[dtype]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = (data[:, None] >> shifts & (2**bits - 1)).reshape(-1)[: int(np.prod(shape))].astype(np.int8)
    if not dtype.startswith("u"):
        values = np.where(values >= 2 ** (bits - 1), values - 2**bits, values).astype(np.int8)
    return np.asarray(values.reshape(shape))


def new(table: str, **fields: Any) -> Any:
    """Make a table of the schema; fields not given keep its defaults. The constructors of LiteRT 2.0 take no fields."""
    made = getattr(SCHEMA, f"{table}T")()
    for name, value in fields.items():
        assert hasattr(made, name), name
        setattr(made, name, value)
    return made


def add_buffer(model: Any, values: Array | None) -> int:
    """Add a buffer to a model, empty where `values` is None, and return its index."""
    model.buffers.append(new("Buffer", data=None if values is None else as_bytes(values)))
    return len(model.buffers) - 1


def add_tensor(model: Any, name: str, shape: Any, dtype: str, buffer: int) -> int:
    """Add a tensor of a numpy `dtype` to the first subgraph of a model, and return its index."""
    kind, tensors = getattr(SCHEMA.TensorType, dtype.upper()), model.subgraphs[0].tensors
    fields = {"name": name.encode(), "shape": np.array(shape, np.int32), "type": kind, "buffer": buffer}
    tensors.append(new("Tensor", **fields, hasRank=True))
    return len(tensors) - 1


def add_constant(model: Any, name: str, values: Array) -> int:
    """Add a tensor with values to the first subgraph of a model, and return its index."""
    return add_tensor(model, name, values.shape, values.dtype.name, add_buffer(model, values))


def new_operator(model: Any, kind: str, inputs: list[int], output: int, **options: Any) -> Any:
    """Make an operator of a kind in `OPTIONS`, without adding it to a subgraph of the model.

    `options` are the fields of its table that differ from the schema's defaults.
    """
    code = _operator_code(model, getattr(SCHEMA.BuiltinOperator, kind), VERSIONS.get(kind, 1))
    ends = {"inputs": np.array(inputs, np.int32), "outputs": np.array([output], np.int32)}
    operator = new("Operator", opcodeIndex=code, **ends)
    table = OPTIONS[kind]
    if table is not None:
        operator.builtinOptionsType = getattr(SCHEMA.BuiltinOptions, table)
        operator.builtinOptions = new(table, **options)
    return operator


def _operator_code(model: Any, builtin: int, version: int) -> int:
    """Return the index of an operator's code in a version, which is added where the model has none."""
    for i, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == version:
            return i
    old = min(builtin, SCHEMA.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    model.operatorCodes.append(new("OperatorCode", builtinCode=builtin, deprecatedBuiltinCode=old, version=version))
    return len(model.operatorCodes) - 1


def set_metadata(model: Any, name: str, content: bytes) -> None:
    """Add or replace a metadata entry of a model."""
    entry = new("Metadata", name=name.encode(), buffer=add_buffer(model, np.frombuffer(content, np.uint8)))
    others = [other for other in model.metadata or [] if other.name not in (name, name.encode())]
    model.metadata = [*others, entry]


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that writes equal vectors of int64 once: zero points, 8 bytes for each channel of each layer.

    In EfficientNet-Lite0 they take 345 kB of 5.2 MB, and are all zero.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[bytes, int] = {}

    def CreateNumpyVector(self, values: Array) -> int:
        if values.dtype != np.int64:
            return int(super().CreateNumpyVector(values))
        content = values.tobytes()
        if content not in self._written:
            self._written[content] = int(super().CreateNumpyVector(values))
        return self._written[content]


def to_flatbuffer(model: Any) -> bytes:
    """Serialize a model; the builder gets its final size at once, because one that grows copies all it holds."""
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = _Builder(size + size // 64 + 2**20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(memoryview(builder.Bytes)[builder.Head() :])
