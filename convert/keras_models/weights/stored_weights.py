"""What a weights file holds, whatever its format: layers whose arrays are not read yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.errors import SourceError
from edge_runtime.arrays import Array

CONVOLUTIONS, NORMALIZATIONS, DENSE = "convolutions", "batch-normalizations", "dense layers"
"""The kinds of layers that have weights here."""
KERNEL_ARRAYS = ("kernel", "bias")
NORMALIZATION_ARRAYS = ("gamma", "beta", "moving_mean", "moving_variance")
KINDS_BY_RANK = {4: CONVOLUTIONS, 2: DENSE}
"""The kinds of layers that have a kernel, by its rank."""
FLOATS = ("float16", "float32", "float64")

BY_DEPTH, BY_CREATION, BY_NAME = "by depth", "by creation", "by name"
"""How layers of one kind are ordered in a file: as in `model.layers`, which sorts by the longest path to the output and
so interleaves branches; as a builder makes them, branch after branch; or in no way that means anything."""


@dataclass(frozen=True)
class StoredArray:
    """An array in a file: what the file declares of it, and how to read it."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Array]


@dataclass(frozen=True)
class StoredLayer:
    """A layer in a file: its name, if the file has names, and its arrays by their meaning."""

    name: str | None
    arrays: dict[str, StoredArray]

    @property
    def kind(self) -> str:
        """Return what kind of layer has such arrays; "" for one without weights, like the counter of a dropout."""
        if any(key in self.arrays for key in NORMALIZATION_ARRAYS):
            return NORMALIZATIONS
        return KINDS_BY_RANK.get(len(self.arrays["kernel"].shape), "") if "kernel" in self.arrays else ""

    @property
    def is_foreign(self) -> bool:
        """Return whether it has weights of no known kind; the state of a random generator is no weight."""
        return not self.kind and any(array.shape and array.dtype in FLOATS for array in self.arrays.values())

    @property
    def units(self) -> int:
        """Return how many numbers a layer with a kernel gives."""
        return self.arrays["kernel"].shape[-1]


@dataclass(frozen=True)
class StoredNetwork:
    """The layers of a file.

    Attributes:
        saved_by: what wrote it, as far as it says so.
        order: how `layers` of one kind are ordered.
    """

    path: Path
    saved_by: str
    layers: tuple[StoredLayer, ...]
    order: str

    def of(self, kind: str) -> list[StoredLayer]:
        """Return the layers of one kind."""
        return [layer for layer in self.layers if layer.kind == kind]

    @property
    def has_gamma(self) -> bool:
        """Return whether the batch-normalizations scale as well as shift."""
        return any("gamma" in layer.arrays for layer in self.of(NORMALIZATIONS))


def read_arrays(stored: StoredLayer, expected: dict[str, tuple[int, ...]], name: str, network: str) -> list[Array]:
    """Return the arrays of a layer in float32, checked before they are read: what is declared may not fit in memory.

    Args:
        expected: the shape of each array that the layer has in the network.
        name: of the layer and the file, for messages.
        network: what needs them, for messages.

    Raises:
        SourceError: one is missing, has another shape or is not a finite float.
    """
    for key in stored.arrays:
        if key not in expected:
            raise SourceError(
                f"layer {name} has a {key}, {network} has none there: pass the whole model as --model PATH"
            )
    values = []
    for key, shape in expected.items():
        array = stored.arrays.get(key)
        if array is None:
            raise SourceError(
                f"layer {name} has no {key}: {network} needs one of shape {shape}; if it is another network, pass the "
                "whole model as --model PATH"
            )
        if array.shape != shape:
            raise SourceError(
                f"layer {name} does not fit: its {key} is {array.shape}, {network} has {shape}; if it is another "
                "network, pass the whole model as --model PATH"
            )
        if array.dtype not in FLOATS:
            raise SourceError(f"layer {name} has a {key} of type {array.dtype}: save it in float32")
        value = array.read().astype(np.float32)
        if not np.isfinite(value).all():
            raise SourceError(f"layer {name} has NaN or infinity in its {key}: training diverged, pass other weights")
        values.append(value)
    return values
