"""The graph of a `.tflite`, to read and to change: operators by kind, tensors by index, constants as arrays.

A thin layer over LiteRT's own flatbuffer schema, for models of one subgraph, as all our classifiers are.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.tools import flatbuffer_utils

from convert.errors import DamagedModelError, LoweringError
from convert.tflite import schema, sparse
from convert.tflite.operators import Operator
from convert.tflite.schema import SCHEMA
from edge_runtime.arrays import Array

_OPERATOR_NAMES = schema.names_of(SCHEMA.BuiltinOperator)
_TYPE_NAMES = schema.names_of(SCHEMA.TensorType)


class TfliteGraph:
    """The only subgraph of a TFLite model.

    Tensors are identified by their index. Constants that large models keep behind their flatbuffer are moved into it;
    `had_constants_outside` says whether there were any.

    Raises:
        DamagedModelError: the bytes are not a TFLite model.
        LoweringError: it has several subgraphs.
    """

    def __init__(self, model: bytes) -> None:
        try:
            self._model = flatbuffer_utils.read_model_from_bytearray(model)
            root = SCHEMA.Model.GetRootAs(model)
            self.had_constants_outside = any(root.Buffers(i).Offset() > 1 for i in range(root.BuffersLength()))
        except Exception as error:  # the parser raises anything where offsets are damaged
            raise DamagedModelError(f"this is not a TFLite flatbuffer: {type(error).__name__} {error}") from error
        self._graph = self._chosen_subgraph()
        for buffer in self._model.buffers:
            if buffer.data is not None:  # constants move into the flatbuffer, as arrays: bytes are written one by one
                buffer.data = np.frombuffer(buffer.data, np.uint8)
                buffer.offset = buffer.size = 0

    def _chosen_subgraph(self) -> Any:
        """Return the only subgraph; `JoinedGraph` reads several as one."""
        count = len(self._model.subgraphs or [])
        if count != 1:
            raise LoweringError(f"the model has {count} subgraphs: a classifier has one")
        return self._model.subgraphs[0]

    def to_bytes(self) -> bytes:
        """Return the flatbuffer."""
        return schema.to_flatbuffer(self._model)

    @property
    def inputs(self) -> tuple[int, ...]:
        """Return the graph's inputs."""
        return _indices(self._graph.inputs)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Return the graph's outputs."""
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
        """Return (name, version, custom name) of each kind of operator that the file lists, used or not."""
        kinds = []
        for code in self._model.operatorCodes or []:
            name = _OPERATOR_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN")
            kinds.append((name, int(code.version), _decoded(code.customCode)))
        return kinds

    def set_operator_kind(self, index: int, name: str, version: int) -> None:
        """Replace a kind of operator, at its index in `operator_kinds`, by another in a version."""
        code, value = self._model.operatorCodes[index], getattr(SCHEMA.BuiltinOperator, name)
        code.builtinCode, code.version = value, version
        code.deprecatedBuiltinCode = min(value, SCHEMA.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
        for derived in ("operators", "_consumers", "_producers"):
            self.__dict__.pop(derived, None)

    def named(self, name: str) -> list[Operator]:
        """Return the operators of one kind, in execution order."""
        return [operator for operator in self.operators if operator.name == name]

    def consumers(self, index: int) -> list[Operator]:
        """Return the operators that read a tensor, in execution order, each once."""
        return self._consumers.get(index, [])

    def producer(self, index: int) -> Operator | None:
        """Return the operator that computes a tensor; None for an input of the graph or a constant."""
        return self._producers.get(index)

    def needed_for(self, tensors: Collection[int]) -> list[Operator]:
        """Return the operators that tensors are computed with, in execution order."""
        wanted, needed = set(tensors), []
        for operator in reversed(self.operators):
            if wanted.intersection(operator.outputs):
                needed.append(operator)
                wanted.update(operator.inputs)
        return needed[::-1]

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

    @property
    def tensors(self) -> range:
        """Return the indices of all tensors."""
        return range(len(self._graph.tensors))

    @property
    def activations(self) -> list[int]:
        """Return the tensors that `is_activation`."""
        return [index for index in self.tensors if self.is_activation(index)]

    def tensor_name(self, index: int) -> str:
        """Return the name of a tensor."""
        return _decoded(self._graph.tensors[index].name)

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of a tensor; () for a scalar."""
        return _indices(self._graph.tensors[index].shape)

    def shape_signature(self, index: int) -> tuple[int, ...]:
        """Return the shape of a tensor, with -1 for dimensions known only at run time."""
        signature = self._graph.tensors[index].shapeSignature
        return self.shape(index) if signature is None or len(signature) == 0 else _indices(signature)

    def dtype(self, index: int) -> str:
        """Return the element type of a tensor: "float32", "int8", ..."""
        kind = self._graph.tensors[index].type
        return _TYPE_NAMES.get(kind, f"type {kind}").lower()

    def scales(self, index: int) -> npt.NDArray[np.float32] | None:
        """Return the scales of a tensor, one or one per channel; None when it is not quantized."""
        quantization = self._graph.tensors[index].quantization
        if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
            return None
        return np.asarray(quantization.scale, np.float32)

    def zero_points(self, index: int) -> Array | None:
        """Return the zero points of a tensor, as many as it has scales; None when it is not quantized."""
        if self.scales(index) is None:
            return None
        return np.asarray(self._graph.tensors[index].quantization.zeroPoint, np.int64)

    def quantization(self, index: int) -> tuple[float, int] | None:
        """Return scale and zero point of a tensor that has one of each; None when it is not quantized."""
        scales, zero_points = self.scales(index), self.zero_points(index)
        return None if scales is None or zero_points is None else (float(scales[0]), int(zero_points[0]))

    def quantized_dimension(self, index: int) -> int:
        """Return the axis of the channels of a tensor with one scale per channel."""
        return int(self._graph.tensors[index].quantization.quantizedDimension)

    def is_constant(self, index: int | None) -> bool:
        """Return whether the values of a tensor are in the file; False for -1 and None, an optional input left out."""
        if index is None or index < 0:
            return False
        data = self._buffer(index).data
        return data is not None and len(data) > 0

    def is_activation(self, index: int) -> bool:
        """Return whether a tensor is a float32 array, channels last, that is computed at run time."""
        return self.dtype(index) == "float32" and not self.is_constant(index) and len(self.shape(index)) > 0

    def constant(self, index: int) -> Array:
        """Return the values of a constant tensor; those of less than a byte as int8.

        Raises:
            DamagedModelError: they are not as many as its shape asks for.
        """
        data, sparsity = np.asarray(self._buffer(index).data, np.uint8), self._graph.tensors[index].sparsity
        dtype, shape = self.dtype(index), self.shape(index)
        if sparsity is not None:
            return sparse.densified(schema.from_bytes(data, dtype, (-1,)), sparse.Layout.read(sparsity), shape)
        try:
            return schema.from_bytes(data, dtype, shape)
        except ValueError as error:
            what = f"{self.tensor_name(index)!r} has {len(data)} bytes for {dtype} of shape {shape}"
            raise DamagedModelError(f"it is damaged, its constant {what}: copy it again") from error

    def dequantized(self, index: int) -> npt.NDArray[np.float64]:
        """Return scale * (q - zero_point) of a quantized constant, with one scale or one per channel."""
        scales, zero_points = self.scales(index), self.zero_points(index)
        assert scales is not None
        assert zero_points is not None
        values = self.constant(index).astype(np.float64)
        shape = [1] * values.ndim
        shape[self.quantized_dimension(index)] = len(scales)
        return np.asarray((values - zero_points.reshape(shape)) * scales.reshape(shape))

    def set_constant(self, index: int, values: Array) -> None:
        """Replace the values of a constant tensor by others of its dtype and shape."""
        assert values.shape == self.shape(index)
        self.replace_constant(index, values)

    def replace_constant(self, index: int, values: Array) -> None:
        """Replace the values of a constant tensor by others of its dtype, in any shape."""
        assert values.dtype == self.dtype(index)
        tensor = self._graph.tensors[index]
        tensor.shape = np.array(values.shape, np.int32)
        if sum(other.buffer == tensor.buffer for other in self._graph.tensors) > 1:
            tensor.buffer = schema.add_buffer(self._model, None)
        self._buffer(index).data = schema.as_bytes(values)

    def set_scales(self, index: int, scales: npt.NDArray[np.float32]) -> None:
        """Replace the scales of a quantized tensor by as many others."""
        quantization = self._graph.tensors[index].quantization
        assert len(quantization.scale) == len(scales)
        quantization.scale = np.asarray(scales, np.float32)

    def piece(
        self, operators: Sequence[Operator], inputs: Sequence[int], outputs: Sequence[int]
    ) -> tuple[bytes, dict[int, int]]:
        """Return a flatbuffer of some operators alone, in order of execution, with these tensors as its ends.

        It has no other tensors and constants than they read and write; with it comes the index there of each.
        """
        model, graph = copy.copy(self._model), copy.copy(self._graph)
        used = sorted({i for operator in operators for i in (*operator.inputs, *operator.outputs) if i >= 0})
        moved = {i: number for number, i in enumerate(used)} | {-1: -1}
        graph.tensors = [copy.copy(self._graph.tensors[i]) for i in used]
        kept = sorted({0, *(tensor.buffer for tensor in graph.tensors)})
        model.buffers = [self._model.buffers[i] for i in kept]
        for tensor in graph.tensors:
            tensor.buffer = kept.index(tensor.buffer)
        graph.operators = [copy.copy(self._graph.operators[operator.position]) for operator in operators]
        for operator in (graph, *graph.operators):
            ends = (inputs, outputs) if operator is graph else (operator.inputs, operator.outputs)
            operator.inputs, operator.outputs = (np.array([moved[int(i)] for i in end], np.int32) for end in ends)
        model.subgraphs, model.signatureDefs, model.metadata, model.metadataBuffer = [graph], None, None, None
        return schema.to_flatbuffer(model), moved

    def shift_input(self, offset: float, name: str) -> None:
        """Insert an ADD of a constant behind the input; the tensor it writes, `name`, replaces the input everywhere."""
        for derived in ("operators", "_consumers", "_producers"):
            self.__dict__.pop(derived, None)
        source, shifted = self._graph.inputs[0], len(self._graph.tensors)
        for operator in self._graph.operators:
            operator.inputs = np.array([shifted if i == source else i for i in operator.inputs], np.int32)
        schema.add_tensor(self._model, name, self.shape(source), "float32", schema.add_buffer(self._model, None))
        constant = schema.add_constant(self._model, f"{name}/offset", np.array([offset], np.float32))
        self._graph.operators.insert(0, schema.new_operator(self._model, "ADD", [source, constant], shifted))

    def bypass(self, operator: Operator) -> None:
        """Remove an operator and its output, whose readers get its first input; later tensors move up by one."""
        for derived in ("operators", "_consumers", "_producers"):
            self.__dict__.pop(derived, None)
        source, output = operator.inputs[0], operator.outputs[0]
        del self._graph.operators[operator.position], self._graph.tensors[output]

        def moved(indices: Any) -> Array:
            kept = (source if i == output else int(i) for i in indices)
            return np.array([i - (i > output) for i in kept], np.int32)

        for other in self._graph.operators:
            other.inputs, other.outputs = moved(other.inputs), moved(other.outputs)
        self._graph.inputs, self._graph.outputs = moved(self._graph.inputs), moved(self._graph.outputs)
        for definition in self._model.signatureDefs or []:
            for entry in [*definition.inputs, *definition.outputs]:
                (entry.tensorIndex,) = moved([entry.tensorIndex]).tolist()

    def set_metadata(self, name: str, content: bytes) -> None:
        """Add or replace a metadata entry of the model."""
        schema.set_metadata(self._model, name, content)

    def metadata(self, name: str) -> bytes | None:
        """Return the content of a metadata entry; None when there is no such entry."""
        for entry in self._model.metadata or []:
            if entry.name in (name, name.encode()):
                return bytes(np.asarray(self._model.buffers[entry.buffer].data, np.uint8))
        return None

    def repeat_operator_codes(self) -> None:
        """Write the code of every kind of operator into the older of the schema's two fields as well.

        TensorFlow before 2.4 and the `tflite` package know no other field, and read an ADD where it is empty, as
        litert-quantizer leaves it. Codes too large for it are written as the schema's placeholder.
        """
        for code in self._model.operatorCodes or []:
            code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
            code.deprecatedBuiltinCode = min(code.builtinCode, SCHEMA.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)

    def minimum_runtime(self) -> str:
        """Return the oldest TensorFlow Lite that runs the model according to its converter, or "unknown"."""
        stated = self.metadata("min_runtime_version") or b""
        return stated.rstrip(b"\0").decode(errors="replace") or "unknown"

    def signatures(self) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
        """Return, for each signature key, the tensor indices of its arguments and of its results, by name."""
        return {
            (definition.signatureKey or b"").decode(errors="replace"): (
                _tensor_map(definition.inputs),
                _tensor_map(definition.outputs),
            )
            for definition in self._model.signatureDefs or []
        }

    def _buffer(self, index: int) -> Any:
        return self._model.buffers[self._graph.tensors[index].buffer]


def tensor_name(model: str, layer: str, kind: str) -> str:
    """Name a constant, or the output of an operator after the last layer in it, as TensorFlow does: "net/conv/Relu"."""
    return f"{model}/{layer}/{kind}"


def layer_name(tensor: str) -> str:
    """Return the layer in the name of a tensor, to show to a user; names of another form stay as they are.

    TFLiteConverter joins the names of fused layers: "model_1/block_1/conv_1/Relu;model_1/..." is "block_1/conv_1".
    """
    first = tensor.split(";", maxsplit=1)[0]
    parts = first.split("/")
    return "/".join(parts[1:-1]) if len(parts) > 2 else first


def _indices(vector: Any) -> tuple[int, ...]:
    """Return a vector of integers of the flatbuffer; one that is empty may be missing."""
    return () if vector is None else tuple(int(i) for i in vector)


def _decoded(text: bytes | None) -> str:
    return (text or b"").decode(errors="replace")


def _tensor_map(entries: Any) -> dict[str, int]:
    return {_decoded(entry.name): int(entry.tensorIndex) for entry in entries or []}
