"""The tiny network in forms that are rare and sound: in a branch, with sparse weights, with other ends."""

from __future__ import annotations

import copy
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.edge_runtime.tiny_model import tiny_flatbuffer

WEIGHTS, BIAS, SOFTMAX, DENSE = 3, 5, 6, 1
"""Tensors, and an operator, of the tiny network."""


def branching(answers: int = SOFTMAX) -> bytes:
    """IF over a constant: both branches are the tiny network; one is given its weights by the call.

    `answers` is the tensor of the first branch that it answers with, whatever the model says of its output.
    """
    model = _tiny()
    main = model.subgraphs[0]
    branches = [copy.deepcopy(main) for _ in range(2)]
    for branch, name in zip(branches, (b"light", b"dark"), strict=True):
        branch.name = name
        branch.inputs = [0, WEIGHTS]
    branches[0].tensors[WEIGHTS].buffer = 0  # what the call gives
    branches[0].outputs = [answers]
    for branch in branches[1:]:
        branch.inputs = [0, len(branch.tensors)]
        branch.tensors.append(_tensor(b"unused", [3, 3], schema.TensorType.FLOAT32, 0))
    model.buffers.append(_buffer(np.array([True])))
    main.tensors.append(_tensor(b"is light", [], schema.TensorType.BOOL, len(model.buffers) - 1))
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    call = schema.OperatorT()
    call.opcodeIndex = _code(model, schema.BuiltinOperator.IF)
    call.inputs, call.outputs = [len(main.tensors) - 1, 0, WEIGHTS], list(main.outputs)
    call.builtinOptions, call.builtinOptionsType = options, schema.BuiltinOptions.IfOptions
    main.name, main.operators, model.subgraphs = b"main", [call], [main, *branches]
    return packed(model)


def two_signatures() -> bytes:
    """Two subgraphs, both the tiny network, each with a signature of its own."""
    model = _tiny()
    model.subgraphs.append(copy.deepcopy(model.subgraphs[0]))
    model.subgraphs[1].name = b"again"
    model.signatureDefs = []
    for number, key in enumerate((b"classify", b"again")):
        graph, signature = model.subgraphs[number], schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key, number
        signature.inputs = [_named(b"image", graph.inputs[0])]
        signature.outputs = [_named(b"scores", graph.outputs[0])]
        model.signatureDefs.append(signature)
    return packed(model)


def sparse(dtype: str = "float32") -> bytes:
    """The weights, which are the identity, as three numbers and their places; float16 are unpacked twice."""
    model = _tiny()
    graph, kinds = model.subgraphs[0], {"float32": schema.TensorType.FLOAT32, "float16": schema.TensorType.FLOAT16}
    weights = graph.tensors[WEIGHTS]
    model.buffers[weights.buffer] = _buffer(np.ones(3, dtype))
    weights.type, weights.sparsity = kinds[dtype], _rows(np.eye(3))
    steps = [(schema.BuiltinOperator.DENSIFY, kinds[dtype])]
    if dtype != "float32":
        steps.append((schema.BuiltinOperator.DEQUANTIZE, schema.TensorType.FLOAT32))
    last = WEIGHTS
    for number, (code, kind) in enumerate(steps):
        graph.tensors.append(_tensor(b"unpacked", [3, 3], kind, 0))
        step = schema.OperatorT()
        step.opcodeIndex, step.inputs, step.outputs = _code(model, code), [last], [len(graph.tensors) - 1]
        graph.operators.insert(number, step)
        last = len(graph.tensors) - 1
    graph.operators[DENSE + len(steps)].inputs = [2, last, BIAS]
    return packed(model)


def with_ends(inputs: int, outputs: int) -> bytes:
    """More inputs, which nothing reads, and outputs, which are the logits."""
    model = _tiny()
    graph = model.subgraphs[0]
    for number in range(1, inputs):
        graph.tensors.append(_tensor(f"more_{number}".encode(), [], schema.TensorType.FLOAT32, 0))
        graph.inputs = [*graph.inputs, len(graph.tensors) - 1]
    graph.outputs = [*graph.outputs, *[4] * (outputs - 1)]
    return packed(model)


def packed(model: Any) -> bytes:
    """Return the flatbuffer."""
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tiny() -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_flatbuffer()))


def _buffer(values: Any) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    return buffer


def _tensor(name: bytes, shape: list[int], kind: int, buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer, tensor.hasRank = name, shape, kind, buffer, True
    return tensor


def _code(model: Any, builtin: int) -> int:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 1
    code.version = 3 if builtin == schema.BuiltinOperator.DEQUANTIZE else 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _named(name: bytes, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry


def _rows(values: Any) -> Any:
    """Return how a matrix is stored row by row, without its zeros."""
    rows, columns = (schema.DimensionMetadataT() for _ in range(2))
    rows.format, rows.denseSize = schema.DimensionType.DENSE, len(values)
    columns.format = schema.DimensionType.SPARSE_CSR
    segments, indices = schema.Int32VectorT(), schema.Int32VectorT()
    segments.values = [0, *np.cumsum(np.count_nonzero(values, axis=1)).tolist()]
    indices.values = np.nonzero(values)[1].tolist()
    columns.arraySegments, columns.arraySegmentsType = segments, schema.SparseIndexVector.Int32Vector
    columns.arrayIndices, columns.arrayIndicesType = indices, schema.SparseIndexVector.Int32Vector
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.dimMetadata = [0, 1], [rows, columns]
    return sparsity
