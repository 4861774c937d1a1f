"""Reads a flatbuffer that may be damaged or hostile, without a schema: fields are numbers."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from edge_runtime.arrays import Array


class Reader:
    """Reads the tables and vectors of a flatbuffer; each is named by its position.

    Methods that begin with `each` read the same field of many tables, given as an array of positions, at once.

    Tables may share vectors, so a small file can spell out a huge graph: a file with more entries than bytes is
    refused.

    Raises:
        ValueError: from every method too: an offset leads out of the file, or it has more entries than bytes.
    """

    def __init__(self, content: memoryview) -> None:
        self._content, self._left = content, len(content)
        self.root = self._number("<I", 0)

    def number(self, table: int, field: int, layout: str) -> int:
        """Return a number in a field of a table, of a `struct` layout; 0, the schema's default, if it is absent."""
        at = self._field(table, field)
        return 0 if at is None else self._number(layout, at)

    def vector(self, table: int, field: int) -> tuple[int, int]:
        """Return the position of a vector's first entry, and the number of entries."""
        at = self._field(table, field)
        if at is None:
            return 0, 0
        start = at + self._number("<I", at)
        return start + 4, self._number("<I", start)

    def numbers(self, table: int, field: int, format_character: str) -> tuple[Any, ...]:
        """Return a vector of numbers: "i" for int32, "f" for float32, see `struct`."""
        start, length = self._counted(table, field)
        return self._unpack(f"<{length}{format_character}", start)

    def text(self, table: int, field: int) -> bytes:
        """Return the bytes of a string; none if it is absent."""
        start, length = self._counted(table, field)
        return bytes(self._unpack(f"<{length}s", start)[0])

    def tables(self, table: int, field: int) -> list[int]:
        """Return the positions of a vector of tables."""
        start, length = self._counted(table, field)
        return [start + 4 * i + offset for i, offset in enumerate(self._unpack(f"<{length}I", start))]

    def numbers_at(self, layout: str, at: int) -> tuple[Any, ...]:
        """Return the numbers of a `struct` layout at a position."""
        return self._unpack(layout, at)

    def each_number(self, tables: Array, field: int, layout: str) -> Array:
        """Return a number of each table, of a NumPy dtype; 0 where it is absent."""
        return self._each_there(self._each_field(tables, field), layout)

    def each_table(self, tables: Array, field: int) -> Array:
        """Return the position of a table in each table, int64; 0 where it is absent."""
        at = self._each_field(tables, field)
        return at + self._each_there(at, "<u4")

    def each_vector(self, tables: Array, field: int) -> tuple[Array, Array]:
        """Return the position of each vector's first entry, and the number of entries, both int64; see `vector`."""
        starts = self.each_table(tables, field)
        return np.where(starts > 0, starts + 4, 0), self._each_there(starts, "<u4").astype(np.int64)

    def each_numbers(self, tables: Array, field: int, layout: str) -> list[list[Any]]:
        """Return a vector of numbers of each table; `layout` is a NumPy dtype."""
        starts, lengths = self.each_vector(tables, field)
        self._count(int(lengths.sum()))
        ends, size = np.cumsum(lengths), np.dtype(layout).itemsize
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        values = self._each_at(np.repeat(starts, lengths) + size * within, layout).tolist()
        return [values[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]

    def each_place_of_numbers(self, tables: Array, field: int, format_character: str) -> list[tuple[str, int]]:
        """Return where `numbers_at` finds a vector of numbers of each table: they are there, and are counted."""
        starts, lengths = self.each_vector(tables, field)
        self._count(int(lengths.sum()))
        self._check_inside(starts, lengths * struct.calcsize(format_character))
        return [(f"<{n}{format_character}", at) for at, n in zip(starts.tolist(), lengths.tolist(), strict=True)]

    def _each_field(self, tables: Array, field: int) -> Array:
        """Return the position of a field in each table, int64; 0 where it is absent."""
        vtables = tables - self._each_at(tables, "<i4")
        entry = 4 + 2 * field
        has_entry = self._each_at(vtables, "<u2") > entry
        offsets = self._each_there(np.where(has_entry, vtables + entry, 0), "<u2")
        return np.where(offsets > 0, tables + offsets, 0)

    def _each_there(self, places: Array, layout: str) -> Array:
        """Return the number at each place but 0, where no field can be and which stands for an absent one; 0 there."""
        found = np.zeros(len(places), layout)
        found[places != 0] = self._each_at(places[places != 0], layout)
        return found

    def _each_at(self, places: Array, layout: str) -> Array:
        """Return the number at each place."""
        size = np.dtype(layout).itemsize
        self._check_inside(places, size)
        found = np.empty((len(places), size), np.uint8)
        for i in range(size if len(places) else 0):  # the view is not kept: a mapped file could not be closed
            found[:, i] = np.frombuffer(self._content, np.uint8)[places + i]
        return found.view(layout)[:, 0]

    def _check_inside(self, places: Array, sizes: Array | int) -> None:
        outside = places[(places < 0) | (places + sizes > len(self._content))]
        if outside.size:
            raise ValueError(f"an offset of {outside[0]} leads out of its {len(self._content)} bytes")

    def _counted(self, table: int, field: int) -> tuple[int, int]:
        start, length = self.vector(table, field)
        self._count(length)
        return start, length

    def _count(self, entries: int) -> None:
        self._left -= entries
        if self._left < 0:
            raise ValueError("it has more entries than bytes")

    def table(self, table: int, field: int) -> int | None:
        """Return the position of a table in a table; None if it is absent."""
        at = self._field(table, field)
        return None if at is None else at + self._number("<I", at)

    def _field(self, table: int, field: int) -> int | None:
        vtable = table - self._number("<i", table)
        entry = 4 + 2 * field
        offset = self._number("<H", vtable + entry) if entry < self._number("<H", vtable) else 0
        return table + offset if offset else None

    def _number(self, layout: str, at: int) -> int:
        return int(self._unpack(layout, at)[0])

    def _unpack(self, layout: str, at: int) -> tuple[Any, ...]:
        if not 0 <= at <= len(self._content) - struct.calcsize(layout):  # Python counts negative offsets from the end
            raise ValueError(f"an offset of {at} leads out of its {len(self._content)} bytes")
        return struct.unpack_from(layout, self._content, at)
