"""Well-formed flatbuffers of graphs that make no sense."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.hostile.damage import FOUR_GIGABYTES, WILD


def changed_graph(random: Random, flatbuffer: bytes) -> bytes:
    """One to three changes of tensors, operators, buffers and ends, written by the flatbuffer library."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(flatbuffer))
    for _ in range(random.choice((1, 1, 2, 3))):
        random.choice(GRAPH_CHANGES)(random, model)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _shape(random: Random, model: Any) -> None:
    tensor = random.choice(model.subgraphs[0].tensors)
    shape = [int(n) for n in tensor.shape] if tensor.shape is not None else [1]
    if shape and random.random() < 0.7:
        shape[random.randrange(len(shape))] = random.choice(WILD)
    else:
        shape = random.choice((shape[1:], [*shape, random.choice(WILD)], shape * 8))
    tensor.shape = shape


def _dtype(random: Random, model: Any) -> None:
    random.choice(model.subgraphs[0].tensors).type = random.randrange(25)


def _tensor_buffer(random: Random, model: Any) -> None:
    tensor = random.choice(model.subgraphs[0].tensors)
    tensor.buffer = random.choice((*range(len(model.buffers) + 1), FOUR_GIGABYTES))


def _operator_inputs(random: Random, model: Any) -> None:
    operator, tensors = random.choice(model.subgraphs[0].operators), len(model.subgraphs[0].tensors)
    inputs = [int(i) for i in operator.inputs] if operator.inputs is not None else []
    if inputs and random.random() < 0.6:
        inputs[random.randrange(len(inputs))] = random.choice((*WILD, *range(tensors)))
    else:
        inputs = random.choice((inputs[:-1], [*inputs, random.randrange(tensors)], []))
    operator.inputs = inputs


def _operator_outputs(random: Random, model: Any) -> None:
    operator, tensors = random.choice(model.subgraphs[0].operators), len(model.subgraphs[0].tensors)
    operator.outputs = random.choice(([], [random.randrange(tensors)], [random.choice(WILD)], [0, tensors - 1]))


def _operator_kind(random: Random, model: Any) -> None:
    code = random.choice(model.operatorCodes)
    code.builtinCode = random.randrange(215)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = random.choice((1, 1, 2, 100))


def _operators(random: Random, model: Any) -> None:
    """Out of order, missing, twice, or without their options."""
    operators = model.subgraphs[0].operators
    kind = random.randrange(4)
    if kind == 0:
        random.shuffle(operators)
    elif kind == 1 and len(operators) > 1:
        del operators[random.randrange(len(operators))]
    elif kind == 2:
        operators.append(random.choice(operators))
    else:
        operator = random.choice(operators)
        operator.builtinOptions, operator.builtinOptionsType = None, 0


def _constant(random: Random, model: Any) -> None:
    """Other values, fewer of them, or bytes that stand outside the flatbuffer."""
    buffer = random.choice(model.buffers)
    if buffer.data is None or len(buffer.data) == 0:
        buffer.offset = random.choice((1, 2, 8, 1000, 2**32, 2**63))
        buffer.size = random.choice((1, 36, 2**32, 2**63))
        return
    content = bytearray(bytes(buffer.data))
    if random.random() < 0.3:
        content = content[: random.randrange(len(content))]
    else:
        for _ in range(random.choice((1, 4, 16))):
            content[random.randrange(len(content))] = random.randrange(256)
    buffer.data = np.frombuffer(bytes(content), np.uint8)


def _quantization(random: Random, model: Any) -> None:
    quantization, count = schema.QuantizationParametersT(), random.choice((0, 1, 2, 3, 100))
    quantization.scale = [
        random.choice((0.0, -1.0, 1e-38, 1e38, float("nan"), float("inf"), 0.1)) for _ in range(count)
    ]
    zero_points = random.choice((count, count, 0, 1))
    quantization.zeroPoint = [random.choice((0, -(2**63), 2**63 - 1, 127, -128)) for _ in range(zero_points)]
    quantization.quantizedDimension = random.choice(WILD)
    random.choice(model.subgraphs[0].tensors).quantization = quantization


def _ends(random: Random, model: Any) -> None:
    graph = model.subgraphs[0]
    chosen = random.choice(([], [random.choice(WILD)], [random.randrange(len(graph.tensors))], [0, 0]))
    setattr(graph, random.choice(("inputs", "outputs")), chosen)


def _subgraphs(random: Random, model: Any) -> None:
    model.subgraphs = random.choice(([], model.subgraphs * 2))
    if model.subgraphs == []:
        model.subgraphs = [schema.SubGraphT()]
        model.subgraphs[0].tensors, model.subgraphs[0].operators = [schema.TensorT()], [schema.OperatorT()]


GRAPH_CHANGES: tuple[Callable[[Random, Any], None], ...] = (
    *(_shape, _dtype, _tensor_buffer, _operator_inputs, _operator_outputs, _operator_kind, _operators, _constant),
    *(_quantization, _ends, _subgraphs),
)
