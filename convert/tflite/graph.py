"""A `.tflite` model's graph as something one can walk and change: operators by name, constants as arrays.

A thin layer over LiteRT's own flatbuffer schema; one subgraph, as every classifier here has.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.tools import flatbuffer_utils

from convert.errors import LoweringError
from convert.tflite.operators import Operator
from convert.tflite.schema import SCHEMA, add_buffer, add_tensor, as_bytes, new_operator, set_metadata, to_flatbuffer
from edge_runtime.arrays import Array

_OPERATOR_NAMES = {v: k for k, v in vars(SCHEMA.BuiltinOperator).items() if not k.startswith("_")}
_DTYPE_NAMES = {v: k.lower() for k, v in vars(SCHEMA.TensorType).items() if not k.startswith("_")}

_BITS = {"int4": 4, "uint4": 4, "int2": 2}
"""Types of less than a byte."""


class TfliteGraph:
    """The only subgraph of a TFLite model.

    Raises:
        LoweringError: the bytes are no TFLite model, or it has several subgraphs.
    """

    def __init__(self, model: bytes) -> None:
        try:
            self._model = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
        except Exception as error:  # the parser raises whatever the damage makes of its offsets
            raise LoweringError(f"this is not a TFLite flatbuffer: {type(error).__name__} {error}") from error
        if len(self._model.subgraphs) != 1:
            raise LoweringError(f"the model has {len(self._model.subgraphs)} subgraphs: a classifier here has one")
        self._graph = self._model.subgraphs[0]
        for buffer in self._model.buffers:
            if buffer.data is not None:  # bytes from outside the flatbuffer would be written one by one
                buffer.data = np.frombuffer(buffer.data, np.uint8)
                buffer.offset = buffer.size = 0

    def to_bytes(self) -> bytes:
        """The flatbuffer."""
        return to_flatbuffer(self._model)

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensor indices of the graph's inputs."""
        return _indices(self._graph.inputs)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Tensor indices of the graph's outputs."""
        return _indices(self._graph.outputs)

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """Return the operators in execution order."""
        kinds = self.operator_kinds()
        return tuple(
            Operator(i, *kinds[int(op.opcodeIndex)], _indices(op.inputs), _indices(op.outputs), op.builtinOptions)
            for i, op in enumerate(self._graph.operators)
        )

    def operator_kinds(self) -> list[tuple[str, int, str]]:
        """(name, version, custom name) of each kind of operator that a runtime must have, in the file's order."""
        return [
            (
                _OPERATOR_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN"),
                int(code.version),
                (code.customCode or b"").decode(errors="replace"),
            )
            for code in self._model.operatorCodes or []
        ]

    def named(self, name: str) -> list[Operator]:
        """The operators of one kind, in execution order."""
        return [operator for operator in self.operators if operator.name == name]

    def consumers(self, index: int) -> list[Operator]:
        """Return the operators that read a tensor, in execution order, each once."""
        return self._consumers.get(index, [])

    def producer(self, index: int) -> Operator | None:
        """Return the operator that computes a tensor; None for an input of the graph or a constant."""
        return self._producers.get(index)

    @cached_property
    def _consumers(self) -> dict[int, list[Operator]]:
        consumers: dict[int, list[Operator]] = defaultdict(list)
        for operator in self.operators:
            for index in dict.fromkeys(operator.inputs):
                consumers[index].append(operator)
        return consumers

    @cached_property
    def _producers(self) -> dict[int, Operator]:
        return {index: operator for operator in self.operators for index in operator.outputs}

    def tensor_count(self) -> int:
        """How many tensors there are; they are numbered from 0."""
        return len(self._graph.tensors)

    def tensor_name(self, index: int) -> str:
        """Name of a tensor."""
        return str((self._graph.tensors[index].name or b"").decode(errors="replace"))

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of a tensor; a scalar's is ()."""
        shape = self._graph.tensors[index].shape
        return () if shape is None else tuple(int(n) for n in shape)

    def set_shape(self, index: int, shape: tuple[int, ...]) -> None:
        """Give a tensor that is computed at run time another shape."""
        tensor = self._graph.tensors[index]
        tensor.shape, tensor.shapeSignature = np.array(shape, np.int32), None

    def shape_signature(self, index: int) -> tuple[int, ...]:
        """Shape of a tensor, with -1 where it is only known at run time."""
        signature = self._graph.tensors[index].shapeSignature
        return self.shape(index) if signature is None or len(signature) == 0 else _indices(signature)

    def dtype(self, index: int) -> str:
        """Element type of a tensor: "float32", "int8", ..."""
        return str(_DTYPE_NAMES[self._graph.tensors[index].type])

    def scales(self, index: int) -> npt.NDArray[np.float32] | None:
        """Quantization scales of a tensor, one or one a channel; None when it is not quantized."""
        quantization = self._graph.tensors[index].quantization
        if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
            return None
        return np.asarray(quantization.scale, np.float32)

    def zero_points(self, index: int) -> Array | None:
        """Zero points of a tensor, as `scales`."""
        if self.scales(index) is None:
            return None
        return np.asarray(self._graph.tensors[index].quantization.zeroPoint, np.int64)

    def quantization(self, index: int) -> tuple[float, int] | None:
        """Return scale and zero point of a tensor that has one of each; None when it is not quantized."""
        scales, zero_points = self.scales(index), self.zero_points(index)
        return None if scales is None or zero_points is None else (float(scales[0]), int(zero_points[0]))

    def quantized_dimension(self, index: int) -> int:
        """Return the axis along which a tensor with several scales has them."""
        return int(self._graph.tensors[index].quantization.quantizedDimension)

    def is_constant(self, index: int | None) -> bool:
        """Return whether a tensor's values are in the file; -1 and None, an optional input left out, are no tensor."""
        if index is None or index < 0:
            return False
        data = self._buffer(index).data
        return data is not None and len(data) > 0

    def is_activation(self, index: int) -> bool:
        """Whether a tensor holds float values, channels last, that are computed at run time."""
        return self.dtype(index) == "float32" and not self.is_constant(index) and len(self.shape(index)) > 0

    def constant(self, index: int) -> Array:
        """The values of a constant tensor; those of less than a byte as int8."""
        data = np.asarray(self._buffer(index).data, np.uint8)
        if self.dtype(index) in _BITS:
            return _unpacked(data, self.dtype(index), self.shape(index))
        return data.view(self.dtype(index)).reshape(self.shape(index))

    def dequantized(self, index: int) -> npt.NDArray[np.float64]:
        """Return scale * (q - zero_point) of a quantized constant, with one scale or one a channel."""
        scales, zero_points = self.scales(index), self.zero_points(index)
        assert scales is not None
        assert zero_points is not None
        values = self.constant(index).astype(np.float64)
        shape = [1] * values.ndim
        shape[self.quantized_dimension(index)] = len(scales)
        return np.asarray((values - zero_points.reshape(shape)) * scales.reshape(shape))

    def set_constant(self, index: int, values: Array) -> None:
        """Replace the values of a constant tensor; dtype and shape stay."""
        assert values.shape == self.shape(index)
        self.replace_constant(index, values)

    def replace_constant(self, index: int, values: Array) -> None:
        """Replace a constant tensor by one of another shape; the dtype stays."""
        assert values.dtype == self.dtype(index)
        tensor = self._graph.tensors[index]
        tensor.shape = np.array(values.shape, np.int32)
        if sum(other.buffer == tensor.buffer for other in self._graph.tensors) > 1:
            tensor.buffer = add_buffer(self._model, None)
        self._buffer(index).data = as_bytes(values)

    def shift_input(self, offset: float, name: str) -> None:
        """Let all that reads the input read a new tensor instead: the input plus a constant."""
        for derived in ("operators", "_consumers", "_producers"):
            self.__dict__.pop(derived, None)
        source, shifted = self._graph.inputs[0], len(self._graph.tensors)
        for operator in self._graph.operators:
            inputs = [shifted if i == source else i for i in operator.inputs]
            operator.inputs = np.array(inputs, np.int32)
        add_tensor(self._graph, name, self._graph.tensors[source].shape, "float32", add_buffer(self._model, None))
        values = add_buffer(self._model, np.array([offset], np.float32))
        constant = add_tensor(self._graph, f"{name}/offset", [1], "float32", values)
        operator = new_operator(self._model, "ADD", [source, constant], shifted)
        self._graph.operators.insert(0, operator)

    def set_metadata(self, name: str, content: bytes) -> None:
        """Add or replace a metadata entry of the model."""
        set_metadata(self._model, name, content)

    def metadata(self, name: str) -> bytes | None:
        """The content of a metadata entry, or None."""
        for entry in self._model.metadata or []:
            if entry.name in (name, name.encode()):
                return bytes(np.asarray(self._model.buffers[entry.buffer].data, np.uint8))
        return None

    def repeat_operator_codes(self) -> None:
        """Name every operator in the older of the schema's two fields, too.

        Readers that know no other, TensorFlow before 2.4 and the `tflite` package, find an ADD where it is empty, as
        litert-quantizer leaves it. Codes that do not fit get the placeholder that the schema has for them.
        """
        for code in self._model.operatorCodes or []:
            code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
            code.deprecatedBuiltinCode = min(code.builtinCode, SCHEMA.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)

    def minimum_runtime(self) -> str:
        """The oldest TensorFlow Lite version that runs it, as its converter states; "unknown" when it does not."""
        stated = self.metadata("min_runtime_version") or b""
        return stated.rstrip(b"\0").decode(errors="replace") or "unknown"

    def signatures(self) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
        """Signature key -> (argument name -> tensor index, result name -> tensor index)."""
        return {
            definition.signatureKey.decode(): (_tensor_map(definition.inputs), _tensor_map(definition.outputs))
            for definition in self._model.signatureDefs or []
        }

    def _buffer(self, index: int) -> Any:
        return self._model.buffers[self._graph.tensors[index].buffer]


def has_constants_outside(model: bytes) -> bool:
    """Whether constants stand behind the flatbuffer, as they do in large models; `TfliteGraph` takes them in."""
    root = SCHEMA.Model.GetRootAs(model)
    return any(root.Buffers(i).Offset() > 1 for i in range(root.BuffersLength()))


def _indices(vector: Any) -> tuple[int, ...]:
    """A vector of the flatbuffer; one that is empty may be missing."""
    return () if vector is None else tuple(int(i) for i in vector)


def _unpacked(data: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """Values packed from the low bits of each byte upwards."""
    bits, signed = _BITS[dtype], not dtype.startswith("u")
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = (data[:, None] >> shifts & (2**bits - 1)).reshape(-1)[: int(np.prod(shape))].astype(np.int8)
    if signed:
        values = np.where(values >= 2 ** (bits - 1), values - 2**bits, values).astype(np.int8)
    return np.asarray(values.reshape(shape))


def _tensor_map(entries: Any) -> dict[str, int]:
    return {entry.name.decode(): int(entry.tensorIndex) for entry in entries or []}
