"""Whether a graph's operators fit together, before an interpreter runs them: what one writes, no other does.

LiteRT verifies the flatbuffer itself (offsets, indices, sizes of constants), but not this. An operator that writes to
a constant writes into the mapped file, and the process is killed; so it is where a tensor is read that nothing made.
The format is read here with the standard library, by the field numbers of TensorFlow's schema.fbs.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge_runtime.errors import ArtifactError

MODEL_SUBGRAPHS, MODEL_BUFFERS = 2, 4
GRAPH_TENSORS, GRAPH_INPUTS, GRAPH_OUTPUTS, GRAPH_OPERATORS = 0, 1, 2, 3
TENSOR_SHAPE, TENSOR_BUFFER, TENSOR_IS_VARIABLE = 0, 2, 5
OPERATOR_INPUTS, OPERATOR_OUTPUTS = 1, 2
BUFFER_DATA, BUFFER_OFFSET = 0, 1
OUTSIDE = 2
"""From this offset on a buffer's bytes stand behind the flatbuffer; 0 and 1 say that they do not."""

NO_TENSOR = -1
"""How an operator leaves an optional input out."""


def check_dataflow(model: str | os.PathLike[str] | bytes) -> None:
    """Refuse a model in which a tensor is read before it is made, or is made twice, or is a constant and made.

    Args:
        model: path of a `.tflite` file, or its content.

    Raises:
        ArtifactError: it is so, or the bytes are no flatbuffer of such a model.
    """
    name = "the model" if isinstance(model, bytes) else os.fspath(model)
    try:
        with _content(model) as content:
            reader = _Reader(content)
            buffers = [_holds_bytes(reader, table) for table in reader.tables(reader.root, MODEL_BUFFERS)]
            for graph in reader.tables(reader.root, MODEL_SUBGRAPHS):
                _check_graph(_read_graph(reader, graph, buffers))
    except OSError as error:
        raise ArtifactError(f"{name} cannot be read: {error.strerror or error}") from error
    except (IndexError, ValueError) as error:
        raise ArtifactError(
            f"{name} is damaged, its graph does not hold together: {error}; copy it again, from a source you trust"
        ) from error


@dataclass(frozen=True)
class _Graph:
    """Tensors by number: which are given (constants, variables, empty ones), which of them are constants."""

    tensors: int
    given: set[int]
    constants: set[int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: list[tuple[tuple[int, ...], tuple[int, ...]]]


def _check_graph(graph: _Graph) -> None:
    """Walk through the operators in their order; `ValueError` at the first that does not fit."""
    made = set(graph.inputs)
    for tensor in graph.inputs:
        if not 0 <= tensor < graph.tensors or tensor in graph.constants:
            raise ValueError(f"its input is tensor {tensor} of {graph.tensors}, which is a constant or none at all")
    for number, (inputs, outputs) in enumerate(graph.operators):
        for tensor in inputs:
            if tensor != NO_TENSOR and tensor not in made and tensor not in graph.given:
                raise ValueError(f"operator {number} reads tensor {tensor}, which nothing has made")
        for tensor in outputs:
            if not 0 <= tensor < graph.tensors:
                raise ValueError(f"operator {number} makes tensor {tensor} of {graph.tensors}")
            if tensor in made or tensor in graph.constants:
                raise ValueError(f"operator {number} makes tensor {tensor}, which is a constant or made already")
            made.add(tensor)
    for tensor in graph.outputs:
        if tensor not in made and tensor not in graph.given:
            raise ValueError(f"its output, tensor {tensor}, is made by nothing")


def _read_graph(reader: _Reader, graph: int, buffers: list[bool]) -> _Graph:
    tensors = reader.tables(graph, GRAPH_TENSORS)
    constants = {i for i, tensor in enumerate(tensors) if buffers[reader.number(tensor, TENSOR_BUFFER, "<I")]}
    variables = {i for i, tensor in enumerate(tensors) if reader.number(tensor, TENSOR_IS_VARIABLE, "<B")}
    empty = {i for i, tensor in enumerate(tensors) if 0 in reader.integers(tensor, TENSOR_SHAPE)}
    return _Graph(
        len(tensors),
        constants | variables | empty,
        constants,
        reader.integers(graph, GRAPH_INPUTS),
        reader.integers(graph, GRAPH_OUTPUTS),
        [
            (reader.integers(operator, OPERATOR_INPUTS), reader.integers(operator, OPERATOR_OUTPUTS))
            for operator in reader.tables(graph, GRAPH_OPERATORS)
        ],
    )


def _holds_bytes(reader: _Reader, buffer: int) -> bool:
    return reader.vector(buffer, BUFFER_DATA)[1] > 0 or reader.number(buffer, BUFFER_OFFSET, "<Q") >= OUTSIDE


class _Reader:
    """Tables and vectors of a flatbuffer, each a position in it; nothing outside it is read.

    Tables may share vectors, so that a small file can spell out a huge graph: one with more entries than bytes is
    refused.
    """

    def __init__(self, content: memoryview) -> None:
        self._content, self._left = content, len(content)
        self.root = self._number("<I", 0)

    def number(self, table: int, field: int, layout: str) -> int:
        """A field of a table, of a `struct` layout; 0, the default in the schema, where it is left out."""
        at = self._field(table, field)
        return 0 if at is None else self._number(layout, at)

    def vector(self, table: int, field: int) -> tuple[int, int]:
        """Where the first entry of a vector is, and how many there are."""
        at = self._field(table, field)
        if at is None:
            return 0, 0
        start = at + self._number("<I", at)
        return start + 4, self._number("<I", start)

    def integers(self, table: int, field: int) -> tuple[int, ...]:
        """A vector of int32."""
        start, length = self._counted(table, field)
        return self._unpack(f"<{length}i", start)

    def tables(self, table: int, field: int) -> list[int]:
        """A vector of tables."""
        start, length = self._counted(table, field)
        return [start + 4 * i + offset for i, offset in enumerate(self._unpack(f"<{length}I", start))]

    def _counted(self, table: int, field: int) -> tuple[int, int]:
        start, length = self.vector(table, field)
        self._left -= length
        if self._left < 0:
            raise ValueError("it has more entries than bytes")
        return start, length

    def _field(self, table: int, field: int) -> int | None:
        vtable = table - self._number("<i", table)
        entry = 4 + 2 * field
        offset = self._number("<H", vtable + entry) if entry < self._number("<H", vtable) else 0
        return table + offset if offset else None

    def _number(self, layout: str, at: int) -> int:
        return self._unpack(layout, at)[0]

    def _unpack(self, layout: str, at: int) -> tuple[int, ...]:
        if not 0 <= at <= len(self._content) - struct.calcsize(layout):  # Python counts negative ones from the end
            raise ValueError(f"an offset of {at} leads out of its {len(self._content)} bytes")
        return struct.unpack_from(layout, self._content, at)


@contextmanager
def _content(model: str | os.PathLike[str] | bytes) -> Iterator[memoryview]:
    """A model's bytes; a file's are mapped."""
    if isinstance(model, bytes):
        yield memoryview(model)
        return
    with (
        open(model, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as content,
    ):
        yield content
