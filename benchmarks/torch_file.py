"""Read a `.pth` file as PyTorch wrote it before version 1.6, without PyTorch and without running code from it.

The file is a row of pickles: a magic number, a version, facts of the machine, the tensors, and the keys of the
storages; then each storage as the number of its elements (int64) and its bytes (torch/serialization.py, _legacy_save).
A pickle can call whatever it names; here it can name only what `ALLOWED` has.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class Storage(NamedTuple):
    """What a tensor says of the memory it lies in."""

    dtype: np.dtype[Any]
    key: str
    elements: int


class View(NamedTuple):
    """A tensor: a part of a storage; offset, shape and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _view(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> View:
    return View(storage, offset, shape, strides)


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    **{("torch", name): dtype for name, dtype in STORAGES.items()},
}
"""Module and name -> what stands for it."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise ValueError(f"the file names {module}.{name}, which is no tensor: it is not read")
        return ALLOWED[module, name]

    def persistent_load(self, identity: Any) -> Storage:
        kind, dtype, key, _, elements, *_ = identity
        if kind != "storage":
            raise ValueError(f"the file refers to a {kind!r}, a storage was expected")
        return Storage(dtype, key, elements)


def read_tensors(file: BinaryIO) -> dict[str, np.ndarray]:
    """Return name -> tensor of a state dictionary.

    Raises:
        ValueError: it is no such file, it names anything but tensors, or it is cut short.
    """
    magic, _, _ = (_Unpickler(file).load() for _ in range(3))
    if magic != MAGIC:
        raise ValueError("no .pth file of PyTorch before 1.6: the magic number is another")
    views: Mapping[str, View] = _Unpickler(file).load()
    keys: list[str] = _Unpickler(file).load()
    dtypes = {view.storage.key: view.storage.dtype for view in views.values()}
    storages = {key: _elements(file, dtypes[key]) for key in keys}
    if file.read(1):
        raise ValueError("bytes follow the last storage: the file is not read")
    return {name: _tensor(view, storages[view.storage.key]) for name, view in views.items()}


def _elements(file: BinaryIO, dtype: np.dtype[Any]) -> np.ndarray:
    count = int(np.frombuffer(file.read(8), "<i8")[0])
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize:
        raise ValueError(f"a storage of {count} elements is cut short")
    return np.frombuffer(content, dtype)


def _tensor(view: View, storage: np.ndarray) -> np.ndarray:
    """Copy a view out of its storage; one that reaches beyond it is a `ValueError`."""
    last = view.offset + sum((size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True))
    if min((view.offset, *view.strides)) < 0 or last >= len(storage):
        raise ValueError(f"a tensor of shape {view.shape} lies outside of its storage of {len(storage)} elements")
    strides = [stride * storage.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, strides, writeable=False).copy()
