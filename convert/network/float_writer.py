"""Operators and constants, one by one -> a float `.tflite`: static batch 1, one subgraph, one signature.

Field by field what TFLiteConverter writes for the same operators: schema version 3, the empty buffer 0, signature
`serving_default` from `image` to `probabilities` (tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.tools import flatbuffer_utils

from convert.tflite_graph import to_flatbuffer

Array = npt.NDArray[Any]
_SCHEMA = flatbuffer_utils.schema_fb

INPUT_NAME, OUTPUT_NAME = "serving_default_image:0", "StatefulPartitionedCall:0"
"""What TFLiteConverter calls the ends of a SavedModel with such a signature."""

MINIMUM_RUNTIME = b"1.6.0"
"""Of the operators in `OPTIONS`, MEAN came last (tensorflow/compiler/mlir/lite/tools/versioning/runtime_version.cc)."""

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


class FloatWriter:
    """A float model in the making; tensors are known by their index."""

    def __init__(self) -> None:
        self._model, self._graph = _SCHEMA.ModelT(), _SCHEMA.SubGraphT()
        self._model.version, self._model.description = 3, b"irv2-edge"
        self._model.operatorCodes, self._model.buffers = [], [_SCHEMA.BufferT()]
        self._graph.name, self._graph.tensors, self._graph.operators = b"main", [], []
        self._model.subgraphs = [self._graph]
        self._codes: dict[str, int] = {}

    def tensor(self, name: str, shape: tuple[int, ...]) -> int:
        """A float32 tensor that is computed."""
        return self._tensor(name, shape, 0, _SCHEMA.TensorType.FLOAT32)

    def constant(self, name: str, values: Array) -> int:
        """A float32 or int32 tensor with values."""
        kinds = {"float32": _SCHEMA.TensorType.FLOAT32, "int32": _SCHEMA.TensorType.INT32}
        self._model.buffers.append(_SCHEMA.BufferT())
        index = self._tensor(name, values.shape, len(self._model.buffers) - 1, kinds[values.dtype.name])
        self.set_values(index, values)
        return index

    def set_values(self, index: int, values: Array) -> None:
        """Replace the values of a constant."""
        buffer = self._model.buffers[self._graph.tensors[index].buffer]
        buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)

    def values(self, index: int) -> Array:
        """The values of a float32 constant."""
        tensor = self._graph.tensors[index]
        return np.asarray(self._model.buffers[tensor.buffer].data.view(np.float32).reshape(tensor.shape))

    def operator(self, kind: str, inputs: list[int], output: int, **options: Any) -> Any:
        """Add an operator; what it has no option for keeps the schema's default. Its options can still be changed."""
        operator = _SCHEMA.OperatorT()
        operator.opcodeIndex = self._code(kind)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        table = OPTIONS[kind]
        if table is not None:
            operator.builtinOptionsType = getattr(_SCHEMA.BuiltinOptions, table)
            operator.builtinOptions = getattr(_SCHEMA, f"{table}T")()
            for name, value in options.items():
                assert hasattr(operator.builtinOptions, name)
                setattr(operator.builtinOptions, name, value)
        self._graph.operators.append(operator)
        return operator

    def rename(self, index: int, name: str) -> None:
        """Give a tensor another name."""
        self._graph.tensors[index].name = name.encode()

    def finish(self, image: int, probabilities: int) -> bytes:
        """The flatbuffer, from one tensor to another."""
        self.rename(image, INPUT_NAME)
        self.rename(probabilities, OUTPUT_NAME)
        self._graph.inputs, self._graph.outputs = np.array([image], np.int32), np.array([probabilities], np.int32)
        signature = _SCHEMA.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs, signature.outputs = [_named(b"image", image)], [_named(b"probabilities", probabilities)]
        self._model.signatureDefs = [signature]
        self._add_minimum_runtime()
        return to_flatbuffer(self._model)

    def _add_minimum_runtime(self) -> None:
        buffer, entry = _SCHEMA.BufferT(), _SCHEMA.MetadataT()
        buffer.data = np.frombuffer(MINIMUM_RUNTIME.ljust(16, b"\0"), np.uint8)
        entry.name, entry.buffer = b"min_runtime_version", len(self._model.buffers)
        self._model.buffers.append(buffer)
        self._model.metadata = [entry]

    def _tensor(self, name: str, shape: tuple[int, ...], buffer: int, kind: int) -> int:
        tensor = _SCHEMA.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), np.array(shape, np.int32), kind
        tensor.buffer, tensor.hasRank = buffer, True
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _code(self, kind: str) -> int:
        if kind not in self._codes:
            code = _SCHEMA.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(_SCHEMA.BuiltinOperator, kind)
            code.version = 1
            self._codes[kind] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._codes[kind]


def _named(name: bytes, tensor: int) -> Any:
    entry = _SCHEMA.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry
