"""Results of stages as plain files: JSON for what is small, flatbuffers as they are, arrays as `.npy`. No pickles."""

from __future__ import annotations

import io
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from convert.drift.predictions import Predictions
from convert.lowering.lower import LoweredModel
from convert.quantization.calibrate import Calibration
from convert.quantization.evaluation import Evaluator
from convert.quantization.statistics import ActivationStatistics
from edge_runtime import InputSpec
from edge_runtime.arrays import Array

KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (ActivationStatistics, Calibration, Evaluator, InputSpec, LoweredModel, Predictions)
}
"""The dataclasses that a result is made of, beside the types of Python and NumPy."""
ROOT = "\0root\0"
"""Stands for the folder that a stage reads or writes: the same files may lie elsewhere the next time."""


def pack(value: Any, root: Path) -> tuple[Any, dict[str, bytes]]:
    """Return a value as JSON, and its large parts by the names of their files; `root` is left out of both.

    Raises:
        TypeError: it contains a type that cannot be restored in every bit.
    """
    packer = _Packer(root)
    tree = packer.tree(value, "result")
    return tree, {**packer.parts, **{f"{dtype}.npy": _npy(arrays) for dtype, arrays in packer.arrays.items()}}


def unpack(tree: Any, parts: Mapping[str, bytes], root: Path) -> Any:
    """Return the value that `pack` was given, equal in every bit but for its root."""
    return _Unpacker(root, parts).value(tree)


def without_root(text: str, root: Path) -> str:
    """Return a text with a mark in place of the folder it names. A relative name stays: it could be any word."""
    return text.replace(str(root), ROOT) if root.is_absolute() and root.name else text


def with_root(text: str, root: Path) -> str:
    """Return a text with a folder in place of the mark."""
    return text.replace(ROOT, str(root))


@dataclass
class _Packer:
    root: Path
    parts: dict[str, bytes] = field(default_factory=dict)
    arrays: dict[str, list[Array]] = field(default_factory=lambda: defaultdict(list))
    sizes: Counter[str] = field(default_factory=Counter)

    def tree(self, value: Any, name: str) -> Any:  # noqa: PLR0911 - one for each type
        """Return the JSON of a value, in which a tag says what JSON does not know; `name` is that of its field."""
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return without_root(value, self.root)
            case list():
                return [self.tree(each, name) for each in value]
            case dict():
                return {"dict": {key: self.tree(each, name) for key, each in value.items()}}
            case tuple():
                return {"tuple": [self.tree(each, name) for each in value]}
            case Path():
                return {"path": value.relative_to(self.root).as_posix()}
            case bytes():
                return {"bytes": self._file(value, f"{name}.tflite")}
            case np.ndarray():
                return {"array": self._array(value)}
            case _ if type(value) in KINDS.values():
                values = {each.name: self.tree(getattr(value, each.name), each.name) for each in fields(value)}
                return {type(value).__name__: values}
        raise TypeError(f"{name} is a {type(value).__name__}, which the cache cannot keep")

    def _file(self, value: bytes, name: str) -> str:
        """Keep a flatbuffer under the name of its field."""
        assert name not in self.parts
        self.parts[name] = value
        return name

    def _array(self, value: Array) -> list[Any]:
        """Return type, position and shape in one file for all arrays: hundreds of small ones would be slow to read."""
        name = value.dtype.name
        start = self.sizes[name]
        self.arrays[name].append(value.ravel())
        self.sizes[name] += value.size
        return [name, start, list(value.shape)]


@dataclass
class _Unpacker:
    root: Path
    parts: Mapping[str, bytes]
    arrays: dict[str, Array] = field(default_factory=dict)

    def value(self, tree: Any) -> Any:
        """Return the value of a tree made by `_Packer`."""
        if isinstance(tree, str):
            return with_root(tree, self.root)
        if isinstance(tree, list):
            return [self.value(each) for each in tree]
        if not isinstance(tree, dict):
            return tree
        ((tag, content),) = tree.items()
        restore: dict[str, Callable[[Any], Any]] = {
            "dict": lambda items: {key: self.value(each) for key, each in items.items()},
            "tuple": lambda items: tuple(map(self.value, items)),
            "path": lambda name: self.root / name,
            "bytes": lambda name: self.parts[name],
            "array": lambda place: self._array(*place),
        }
        if tag in restore:
            return restore[tag](content)
        return KINDS[tag](**{name: self.value(each) for name, each in content.items()})

    def _array(self, name: str, start: int, shape: list[int]) -> Array:
        if name not in self.arrays:
            self.arrays[name] = np.load(io.BytesIO(self.parts[f"{name}.npy"]), allow_pickle=False)
        return self.arrays[name][start : start + math.prod(shape)].reshape(shape)


def _npy(arrays: list[Array]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.concatenate(arrays), allow_pickle=False)
    return file.getvalue()
