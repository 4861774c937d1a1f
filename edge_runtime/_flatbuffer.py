"""Reads a flatbuffer with the standard library: tables and vectors by their field numbers, nothing outside it."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Reader:
    """Tables and vectors of a flatbuffer, each a position in it.

    Tables may share vectors, so that a small file can spell out a huge graph: one with more entries than bytes is
    refused.

    Raises:
        ValueError: also of every method: an offset leads out of it, or it has more entries than bytes.
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

    def floats(self, table: int, field: int) -> tuple[float, ...]:
        """A vector of float32."""
        start, length = self._counted(table, field)
        return self._unpack(f"<{length}f", start)

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

    def table(self, table: int, field: int) -> int | None:
        """A table in a table; None where it is left out."""
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
        if not 0 <= at <= len(self._content) - struct.calcsize(layout):  # Python counts negative ones from the end
            raise ValueError(f"an offset of {at} leads out of its {len(self._content)} bytes")
        return struct.unpack_from(layout, self._content, at)


@contextmanager
def content_of(model: str | os.PathLike[str] | bytes) -> Iterator[memoryview]:
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
