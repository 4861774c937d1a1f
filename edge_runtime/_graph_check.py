"""Checks that a graph's operators fit together before an interpreter runs them.

LiteRT verifies the flatbuffer itself (offsets, indices, sizes of constants), but not everything that its kernels rely
on. An operator that writes to a constant writes into the mapped file, which kills the process; so does reading a tensor
that nothing has written, or a scale that is zero, not finite, or out of all proportion. Each rule here stands for
crashes that were seen with LiteRT 2.3. Field numbers and codes are those of TensorFlow's schema.fbs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edge_runtime._flatbuffer import Reader
from edge_runtime._mmap import ModelFile, content_of
from edge_runtime._sparsity_check import check_sparsity
from edge_runtime.custom_operators import COMPILED
from edge_runtime.errors import ArtifactError

MODEL_CODES, MODEL_SUBGRAPHS, MODEL_BUFFERS = 1, 2, 4
CODE_DEPRECATED, CODE_CUSTOM, CODE = 0, 1, 3
GRAPH_TENSORS, GRAPH_INPUTS, GRAPH_OUTPUTS, GRAPH_OPERATORS = 0, 1, 2, 3
TENSOR_SHAPE, TENSOR_TYPE, TENSOR_BUFFER, TENSOR_QUANTIZATION, TENSOR_IS_VARIABLE = 0, 1, 2, 4, 5
TENSOR_SPARSITY = 6
QUANTIZATION_SCALE = 2
OPERATOR_CODE, OPERATOR_INPUTS, OPERATOR_OUTPUTS = 0, 1, 2
BUFFER_DATA, BUFFER_OFFSET, BUFFER_SIZE = 0, 1, 2
OUTSIDE = 2
"""From this offset on, a buffer's bytes lie behind the flatbuffer; 0 and 1 mean that they do not."""

NO_TENSOR = -1
"""The index by which an operator omits an optional input."""

UINT8, INT16, INT8 = 3, 7, 9
ADD, CUSTOM, SUB, CAST, SQUARED_DIFFERENCE = 0, 32, 41, 53, 99
NEEDED_INPUTS = {
    CUSTOM: 0,
    **{16: 1, 44: 1, 46: 1, 52: 1},  # LSTM and RNN
    **{3: 2, 4: 3, 9: 2, 27: 3, 67: 3, 132: 2, 141: 3},  # convolutions, FULLY_CONNECTED and SVDF
    **{45: 4, 65: 3, 126: 2, 144: 2},  # STRIDED_SLICE, SLICE, BATCH_MATMUL and ASSIGN_VARIABLE
}
"""Operator -> how many inputs have to be there, from the first; of others, as many as it has."""
SMALLEST_SCALE, LARGEST_SCALE = 2.0**-126, 2.0**60
"""The smallest normal float32, below which XNNPACK's QUANTIZE aborts; sums abort from 2**108 on."""
FINEST_SUM = {UINT8: 2.0**-19, INT8: 2.0**-19, INT16: 2.0**-14}
"""How much finer a sum's scale may be than its terms': int16 kernels shift terms by 15 bits, int8 kernels by 20."""
FINEST_SQUARE = 2.0**-12
"""The same of squared differences, and the square of their terms' scale."""


def check_dataflow(model: ModelFile) -> int:
    """Check that every tensor is written once, before it is read, and that the kernels can compute with every scale.

    Returns the number of operators in the first graph.

    Raises:
        ArtifactError: one of these does not hold, or the bytes are not the flatbuffer of a model.
    """
    name = "the model" if isinstance(model, bytes) else os.fspath(model)
    try:
        with content_of(model) as content:
            reader = Reader(content)
            buffers = [_stored_bytes(reader, table) for table in reader.tables(reader.root, MODEL_BUFFERS)]
            codes = [_read_kind(reader, table) for table in reader.tables(reader.root, MODEL_CODES)]
            counts = []
            for graph in reader.tables(reader.root, MODEL_SUBGRAPHS):
                tensors = [_read_tensor(reader, table, buffers) for table in reader.tables(graph, GRAPH_TENSORS)]
                operators = [_read_operator(reader, table, codes) for table in reader.tables(graph, GRAPH_OPERATORS)]
                inputs, outputs = reader.numbers(graph, GRAPH_INPUTS, "i"), reader.numbers(graph, GRAPH_OUTPUTS, "i")
                _check_order(tensors, inputs, operators, outputs)
                for number, operator in enumerate(operators):
                    _check_scales(tensors, number, operator)
                counts.append(len(operators))
            return counts[0] if counts else 0
    except OSError as error:
        raise ArtifactError(f"{name} cannot be read: {error.strerror or error}") from error
    except (IndexError, ValueError) as error:
        raise ArtifactError(
            f"{name} is damaged, its graph does not hold together: {error}; copy it again, from a source you trust"
        ) from error


def compiled_operator(model: ModelFile) -> str | None:
    """Return the name in `COMPILED` of a model's custom operator; None if it has none, or cannot be read."""
    try:
        with content_of(model) as content:
            reader = Reader(content)
            kinds = [_read_kind(reader, table) for table in reader.tables(reader.root, MODEL_CODES)]
    except (OSError, IndexError, ValueError):  # whoever loads it says so
        return None
    return next((name for name in COMPILED if (CUSTOM, name) in kinds), None)


class _Tensor(NamedTuple):
    """A tensor; `given` if it need not be written (constant, variable or empty); no `scales` if not quantized."""

    is_constant: bool
    given: bool
    type: int
    scales: Callable[[], tuple[float, ...]]

    @property
    def is_narrow(self) -> bool:
        return self.type in FINEST_SUM


class _Operator(NamedTuple):
    code: int
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def is_compiled(self) -> bool:
        """Return whether no kernel computes it: then it may read its hardware's memory, and integers of any scale."""
        return self.code == CUSTOM and self.custom in COMPILED


def _check_order(
    tensors: Sequence[_Tensor], inputs: Sequence[int], operators: Sequence[_Operator], outputs: Sequence[int]
) -> None:
    """Walk through the operators in order; raise `ValueError` at the first that does not fit."""
    count, written = len(tensors), set(inputs)
    given = {index for index, tensor in enumerate(tensors) if tensor.given}
    for tensor in inputs:
        if not 0 <= tensor < count or tensors[tensor].is_constant:
            raise ValueError(f"its input is tensor {tensor} of {count}, which is a constant or does not exist")
    for number, operator in enumerate(operators):
        needed = NEEDED_INPUTS.get(operator.code, len(operator.inputs))
        if len(operator.inputs) < needed or NO_TENSOR in operator.inputs[:needed]:
            raise ValueError(f"operator {number} lacks one of {needed} inputs")
        for tensor in operator.inputs:
            if operator.is_compiled and 0 <= tensor < count:
                continue
            if tensor != NO_TENSOR and tensor not in written and tensor not in given:
                raise ValueError(f"operator {number} reads tensor {tensor}, which nothing has written")
        for tensor in operator.outputs:
            if not 0 <= tensor < count:
                raise ValueError(f"operator {number} writes tensor {tensor} of {count}")
            if tensor in written or tensors[tensor].is_constant:
                raise ValueError(f"operator {number} writes tensor {tensor}, which is a constant or already written")
            written.add(tensor)
    for tensor in outputs:
        if tensor not in written and tensor not in given:
            raise ValueError(f"its output, tensor {tensor}, is written by nothing")


def _check_scales(tensors: Sequence[_Tensor], number: int, operator: _Operator) -> None:
    """Raise `ValueError` if an operator's 8-bit or 16-bit integers have scales that its kernel cannot use."""
    read = [tensors[i] for i in operator.inputs if i != NO_TENSOR]
    written = [tensors[i] for i in operator.outputs]
    is_sum, is_square = operator.code in (ADD, SUB), operator.code == SQUARED_DIFFERENCE
    for tensor in (*read, *written):
        if tensor.is_narrow and (is_sum or is_square or not tensor.is_constant):
            for scale in tensor.scales():
                if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:  # also if it is NaN
                    raise ValueError(f"operator {number} has a scale of {scale:g}")
    if operator.is_compiled or not read or not written or not read[0].is_narrow or not written[0].is_narrow:
        return
    before, after = read[0].scales(), written[0].scales()
    if bool(before) != bool(after) and operator.code != CAST:
        raise ValueError(f"operator {number} takes integers with a scale to integers without one, or back")
    if not is_sum and not is_square:
        return
    coarsest = max((scale for tensor in read for scale in tensor.scales()), default=0.0)
    if is_sum and after and after[0] <= FINEST_SUM[written[0].type] * coarsest:
        raise ValueError(f"operator {number} has a sum of scale {after[0]:g}, too fine for its terms")
    if is_square and after and after[0] <= FINEST_SQUARE * coarsest**2:
        raise ValueError(f"operator {number} has squares of scale {after[0]:g}, too fine for its terms")


def _read_kind(reader: Reader, table: int) -> tuple[int, str]:
    """Return an operator's code, and its custom name, "" if it has none."""
    return operator_code(reader, table), reader.text(table, CODE_CUSTOM).decode(errors="replace")


def _read_operator(reader: Reader, table: int, kinds: list[tuple[int, str]]) -> _Operator:
    kind = kinds[reader.number(table, OPERATOR_CODE, "<I")]
    return _Operator(*kind, reader.numbers(table, OPERATOR_INPUTS, "i"), reader.numbers(table, OPERATOR_OUTPUTS, "i"))


def _read_tensor(reader: Reader, table: int, buffers: list[int]) -> _Tensor:
    stored_bytes = buffers[reader.number(table, TENSOR_BUFFER, "<I")]
    is_constant = stored_bytes > 0
    is_variable = bool(reader.number(table, TENSOR_IS_VARIABLE, "<B"))
    shape, kind = reader.numbers(table, TENSOR_SHAPE, "i"), reader.number(table, TENSOR_TYPE, "<b")
    is_empty = 0 in shape
    quantization, sparsity = reader.table(table, TENSOR_QUANTIZATION), reader.table(table, TENSOR_SPARSITY)
    if sparsity is not None:
        check_sparsity(reader, sparsity, shape, kind, stored_bytes)
    return _Tensor(
        is_constant,
        is_constant or is_variable or is_empty,
        kind,
        tuple if quantization is None else reader.later(quantization, QUANTIZATION_SCALE, "f"),
    )


def operator_code(reader: Reader, table: int) -> int:
    """Return an operator's code; early files have it in a field of one byte, later ones in both if it fits."""
    return max(reader.number(table, CODE_DEPRECATED, "<b"), reader.number(table, CODE, "<i"))


def _stored_bytes(reader: Reader, buffer: int) -> int:
    """Return how many bytes a buffer has; at least one if they are outside the flatbuffer."""
    inside = reader.vector(buffer, BUFFER_DATA)[1]
    is_outside = reader.number(buffer, BUFFER_OFFSET, "<Q") >= OUTSIDE
    return max(inside, reader.number(buffer, BUFFER_SIZE, "<Q"), 1) if is_outside else inside
