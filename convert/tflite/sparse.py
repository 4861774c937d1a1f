"""Sparse constants: the values that are not zero, and where they lie.

TensorFlow's schema (`SparsityParameters`) lists the dimensions in the order in which they are traversed: those of the
tensor, divided into blocks, and then those of a block. Each is dense, and holds all its indices, or compressed (CSR),
and holds those between two entries of its segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convert.tflite.schema import SCHEMA
from edge_runtime.arrays import Array


@dataclass(frozen=True)
class Level:
    """One traversed dimension: its size if it is dense, or else the segments and indices of what it holds."""

    size: int
    segments: Array | None = None
    indices: Array | None = None

    def expand(self, parents: Array) -> tuple[Array, Array]:
        """Return, for each entry of this dimension, its parent, of the numbers `parents`, and its index in it."""
        if self.segments is None or self.indices is None:
            return np.repeat(parents, self.size), np.tile(np.arange(self.size), len(parents))
        return np.repeat(parents, np.diff(self.segments)), self.indices


@dataclass(frozen=True)
class Layout:
    """Where the values of a sparse tensor lie.

    Attributes:
        order: of each level, the dimension of the tensor, or from its rank on, of the block.
        blocked: of each dimension of a block, that of the tensor.
        levels: as they are traversed.
    """

    order: tuple[int, ...]
    blocked: tuple[int, ...]
    levels: tuple[Level, ...]

    @classmethod
    def read(cls, table: Any) -> Layout:
        """Return the layout in a `SparsityParametersT`."""
        blocked = () if table.blockMap is None else tuple(map(int, table.blockMap))
        return cls(tuple(map(int, table.traversalOrder)), blocked, tuple(map(_level, table.dimMetadata)))


def densified(values: Array, layout: Layout, shape: Sequence[int]) -> Array:
    """Return a tensor of a shape with `values`, in the order of the layout, and zeros elsewhere; see `DENSIFY`."""
    rank = len(shape)
    index = [np.zeros(1, np.int64) for _ in range(rank)]
    for dimension, level in zip(layout.order, layout.levels, strict=True):
        parents, inner = level.expand(np.arange(len(index[0])))
        index = [each[parents] for each in index]
        axis, size = (dimension, 1) if dimension < rank else (layout.blocked[dimension - rank], level.size)
        index[axis] = index[axis] * size + inner
    made = np.zeros(shape, values.dtype)
    made[tuple(index)] = values[: len(index[0])]
    return made


def _level(table: Any) -> Level:
    if table.format == SCHEMA.DimensionType.DENSE:
        return Level(int(table.denseSize))
    return Level(0, np.asarray(table.arraySegments.values, np.int64), np.asarray(table.arrayIndices.values, np.int64))
