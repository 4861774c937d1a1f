"""The float network that every scheme starts from: its flatbuffer, its preprocessing and its labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from convert.lowering.lower import LoweredModel
from edge_runtime import InputSpec


@dataclass(frozen=True)
class FloatModel:
    """A lowered network, how its images are prepared, and what its classes are called."""

    lowered: LoweredModel
    model: bytes
    spec: InputSpec
    labels: tuple[str, ...]

    @cached_property
    def sha256(self) -> str:
        """Of the flatbuffer, hexadecimal."""
        return hashlib.sha256(self.model).hexdigest()
