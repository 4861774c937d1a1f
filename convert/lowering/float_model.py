"""The float network that every scheme starts from: its flatbuffer, its preprocessing and its labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from convert.lowering.lower import LoweredModel
from edge_runtime import InputSpec


@dataclass(frozen=True)
class FloatModel:
    """A lowered network, the preprocessing of its images, and the labels of its classes."""

    lowered: LoweredModel
    spec: InputSpec
    labels: tuple[str, ...]

    @property
    def model(self) -> bytes:
        """Return the flatbuffer."""
        return self.lowered.model

    @cached_property
    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the flatbuffer."""
        return hashlib.sha256(self.model).hexdigest()
