"""Checks that the places of a sparse constant's values lie within it: LiteRT's DENSIFY writes wherever they lead.

Dimensions are listed as they are traversed: those of the tensor, divided into blocks, then those of a block. Each holds
all its indices, or is compressed and holds those between two of its segments. Field numbers are those of schema.fbs.
"""

from __future__ import annotations

from edge_runtime._flatbuffer import Reader

TRAVERSAL_ORDER, BLOCK_MAP, DIMENSIONS = 0, 1, 2
FORMAT, DENSE_SIZE, SEGMENTS_TYPE, SEGMENTS, INDICES_TYPE, INDICES = range(6)
DENSE, COMPRESSED = 0, 1
VALUES = 0
LAYOUTS = {1: "i", 2: "H", 3: "B"}
"""Int32Vector, Uint16Vector and Uint8Vector."""
ELEMENT_BYTES = {0: 4, 1: 2, 9: 1}
"""float32, float16 and int8, the types that DENSIFY takes."""


def check_sparsity(reader: Reader, sparsity: int, shape: tuple[int, ...], kind: int, stored_bytes: int) -> None:
    """Raise `ValueError` unless a table of sparsity places all values that are stored in a tensor of this shape."""
    order, blocks = (reader.numbers(sparsity, field, "i") for field in (TRAVERSAL_ORDER, BLOCK_MAP))
    levels, rank = reader.tables(sparsity, DIMENSIONS), len(shape)
    if sorted(order) != list(range(rank + len(blocks))) or len(levels) != len(order):
        raise ValueError(f"a sparse constant of {rank} dimensions lists {len(levels)}, in the order {order}")
    if not all(0 <= dimension < rank for dimension in blocks):
        raise ValueError(f"a sparse constant of {rank} dimensions has blocks in {blocks}")
    limits = [*shape, *blocks]
    for dimension, level in zip(order, levels, strict=True):
        if dimension >= rank:
            size, outer = reader.number(level, DENSE_SIZE, "<i"), blocks[dimension - rank]
            if size < 1 or limits[outer] % size:
                raise ValueError(f"a sparse constant has blocks of {size} in {limits[outer]}")
            limits[outer], limits[dimension] = limits[outer] // size, size
    count = 1
    for dimension, level in zip(order, levels, strict=True):
        count = _entries(reader, level, count, limits[dimension])
    if kind not in ELEMENT_BYTES or count * ELEMENT_BYTES[kind] != stored_bytes:
        raise ValueError(f"a sparse constant has places for {count} values, and {stored_bytes} bytes of type {kind}")


def _entries(reader: Reader, level: int, parents: int, limit: int) -> int:
    """Return how many entries a dimension has in all its parents; `limit` is its size."""
    kind = reader.number(level, FORMAT, "<b")
    if kind == DENSE and reader.number(level, DENSE_SIZE, "<i") == limit:
        return parents * limit
    segments, indices = _vector(reader, level, SEGMENTS_TYPE, SEGMENTS), _vector(reader, level, INDICES_TYPE, INDICES)
    ends = (segments[0], segments[-1], len(segments)) if segments else ()
    if kind != COMPRESSED or ends != (0, len(indices), parents + 1) or list(segments) != sorted(segments):
        raise ValueError(f"a sparse constant has segments {ends} for {len(indices)} indices in {parents}")
    if indices and not 0 <= min(indices) <= max(indices) < limit:
        raise ValueError(f"a sparse constant has indices {min(indices)} to {max(indices)} of {limit}")
    return len(indices)


def _vector(reader: Reader, level: int, kind: int, field: int) -> tuple[int, ...]:
    layout, table = LAYOUTS.get(reader.number(level, kind, "<B")), reader.table(level, field)
    return () if layout is None or table is None else reader.numbers(table, VALUES, layout)
