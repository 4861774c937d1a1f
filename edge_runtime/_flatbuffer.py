"""Reads a flatbuffer that may be damaged or hostile, without a schema: fields are numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any


class Reader:
    """Reads the tables and vectors of a flatbuffer; each is named by its position.

    Tables may share vectors, so a small file can spell out a huge graph: a file with more entries than bytes is
    refused.

    Raises:
        ValueError: from every method too: an offset leads out of the file, or it has more entries than bytes.
    """

    def __init__(self, content: memoryview) -> None:
        self._content, self._left = content, len(content)
        self._offset = lru_cache(1000)(self._read_offset)  # tables of a kind share their vtables
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

    def later(self, table: int, field: int, format_character: str) -> Callable[[], tuple[Any, ...]]:
        """Return what reads `numbers`, which are there."""
        start, length = self._counted(table, field)
        self._unpack(f"<{length * struct.calcsize(format_character)}x", start)
        return partial(self._unpack, f"<{length}{format_character}", start)

    def text(self, table: int, field: int) -> bytes:
        """Return the bytes of a string; none if it is absent."""
        start, length = self._counted(table, field)
        return bytes(self._unpack(f"<{length}s", start)[0])

    def tables(self, table: int, field: int) -> list[int]:
        """Return the positions of a vector of tables."""
        start, length = self._counted(table, field)
        return [start + 4 * i + offset for i, offset in enumerate(self._unpack(f"<{length}I", start))]

    def _counted(self, table: int, field: int) -> tuple[int, int]:
        start, length = self.vector(table, field)
        self._left -= length
        if self._left < 0:
            raise ValueError("it has more entries than bytes")
        return start, length

    def table(self, table: int, field: int) -> int | None:
        """Return the position of a table in a table; None if it is absent."""
        at = self._field(table, field)
        return None if at is None else at + self._number("<I", at)

    def _field(self, table: int, field: int) -> int | None:
        offset = self._offset(table - self._number("<i", table), field)
        return table + offset if offset else None

    def _read_offset(self, vtable: int, field: int) -> int:
        entry = 4 + 2 * field
        return self._number("<H", vtable + entry) if entry < self._number("<H", vtable) else 0

    def _number(self, layout: str, at: int) -> int:
        return int(self._unpack(layout, at)[0])

    def _unpack(self, layout: str, at: int) -> tuple[Any, ...]:
        try:
            if at >= 0:  # Python counts negative offsets from the end
                return struct.unpack_from(layout, self._content, at)
        except struct.error:
            pass
        raise ValueError(f"an offset of {at} leads out of its {len(self._content)} bytes")
