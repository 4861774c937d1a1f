"""Models of one operator that lacks inputs: fewer than its kernel reads, or one that is not optional omitted.

Every built-in operator is tried with tensors of several shapes and types, all of them alike, so that its kernel finds
nothing else amiss as often as can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.edge_runtime.unusual_models import packed

COUNT = 2000
OMITTED = -1
MOST_INPUTS = 4
ALL_THERE = tuple((True,) * count for count in range(MOST_INPUTS + 1))
PATTERNS = ALL_THERE * 5 + tuple(each for there in ALL_THERE for each in product((True, False), repeat=len(there)))
"""Which inputs are there; of the others only the index of an omitted one is listed."""


class Like(NamedTuple):
    """What all tensors of a model are like."""

    dtype: str
    shape: tuple[int, ...]


LIKES = (
    *(Like("float32", (1, 3)), Like("float32", (1, 4, 4, 3)), Like("int32", (3,)), Like("int8", (1, 3))),
    *(Like("int8", (1, 4, 4, 3)), Like("bool", (3,)), Like("int64", (3,))),
)
CODES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int) and name != "CUSTOM"
}
OPTIONS = {name.removesuffix("Options").lower(): name for name in vars(schema.BuiltinOptions)}
SHARED_OPTIONS = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), "Pool2DOptions"),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY"), "ReducerOptions"),
    **dict.fromkeys(("MINIMUM", "MAXIMUM"), "MaximumMinimumOptions"),
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
}
"""Operators whose options are not called as they are."""
ONES = ("strideH", "strideW", "strideD", "dilationHFactor", "dilationWFactor", "filterHeight", "filterWidth")
ONES += ("depthMultiplier", "blockSize", "numSplits")
"""Options that a kernel divides by."""


def operator_file(number: int) -> tuple[bytes, str]:
    """A model of one operator, and which, with which of its inputs."""
    random = Random(number)
    code, pattern = random.choice(sorted(CODES)), random.choice(PATTERNS)
    way = f"{CODES[code]} {''.join('+' if is_there else '-' for is_there in pattern)}"
    return one_operator(code, pattern, random.choice(LIKES)), way


def one_operator(code: int, pattern: Sequence[bool], like: Like) -> bytes:
    """A model of one operator: its first input is the model's, where it is there; the others are constants."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers, graph.tensors = 3, [graph], [schema.BufferT()], []
    given = [_tensor(model, like, is_constant=place > 0) if there else OMITTED for place, there in enumerate(pattern)]
    image = given[0] if pattern and pattern[0] else _tensor(model, like)
    operator, kind = schema.OperatorT(), schema.OperatorCodeT()
    kind.builtinCode, kind.deprecatedBuiltinCode, kind.version = code, min(code, 127), 1
    operator.inputs, operator.outputs = given, [_tensor(model, like)]
    name = SHARED_OPTIONS.get(CODES[code]) or OPTIONS.get(CODES[code].replace("_", "").lower())
    if name is not None:
        operator.builtinOptions = getattr(schema, f"{name}T")()
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        for option in ONES:
            if hasattr(operator.builtinOptions, option):
                setattr(operator.builtinOptions, option, 1)
    model.operatorCodes, graph.operators, graph.inputs, graph.outputs = [kind], [operator], [image], operator.outputs
    return packed(model)


def _tensor(model: Any, like: Like, is_constant: bool = False) -> int:
    """Add a tensor, of ones if it is constant; return its index."""
    tensor, graph = schema.TensorT(), model.subgraphs[0]
    tensor.type, tensor.shape = getattr(schema.TensorType, like.dtype.upper()), list(like.shape)
    tensor.name, tensor.buffer = f"tensor {len(graph.tensors)}".encode(), 0
    if like.dtype == "int8":
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1], [0]
    if is_constant:
        ones = schema.BufferT()
        ones.data = np.frombuffer(np.ones(like.shape, like.dtype).tobytes(), np.uint8)
        model.buffers.append(ones)
        tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
