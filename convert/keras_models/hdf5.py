"""Open untrusted HDF5 files: whatever refers to data outside the file is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

from convert.errors import SourceError

CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
"""Groups in which Keras numbers the layers of a model; the second is how the first versions with numbers call it."""


@contextmanager
def open_hdf5(path: Path, content: BytesIO | None = None) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; `content` is what to read in place of the file: a member of the archive `path`.

    Raises:
        SourceError: it is not an HDF5 file, is damaged, or refers to data outside; also when reading inside the
            `with` fails.
    """
    try:
        with h5py.File(content or path, "r") as file:
            _refuse_references_outside(file, path)
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise SourceError(f"{path} is not an HDF5 file or is damaged ({one_line(error)}): save it again") from error


def text(value: object) -> str:
    """Return a string attribute as str; h5py gives bytes or str, depending on how it was written."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def texts(group: h5py.Group, name: str) -> list[str]:
    """Return the list in an attribute; Keras splits one of more than 64 KB into `name0`, `name1`, ..."""
    chunks = [name] if name in group.attrs else []
    while f"{name}{len(chunks)}" in group.attrs:
        chunks.append(f"{name}{len(chunks)}")
    return [text(value) for chunk in chunks for value in np.atleast_1d(group.attrs[chunk])]


def class_and_number(key: str) -> tuple[str, int]:
    """Split `conv2d_12` into (conv2d, 12); the first layer of a class has no number."""
    head, _, tail = key.rpartition("_")
    return (head, int(tail)) if head and tail.isdecimal() else (key, 0)


def one_line(error: BaseException) -> str:
    """Return the message of `error` on one line of at most 200 characters."""
    return cut(" ".join(str(error).split()) or type(error).__name__, 200)


def cut(message: str, most: int) -> str:
    """Return a message of at most `most` characters, of which whole words are left out, unless one is all there is."""
    if len(message) <= most:
        return message
    return (message[:most].rpartition(" ")[0] or message[: most - 1]) + "…"


def _refuse_references_outside(file: h5py.File, path: Path) -> None:
    """Refuse links and external data sets: with them, a weights file could pull in any file of the user."""

    def is_not_hard(name: bytes, info: h5py.h5l.LinkInfo) -> str | None:
        return None if info.type == h5py.h5l.TYPE_HARD else text(name)

    def is_stored_elsewhere(name: str, item: h5py.Group | h5py.Dataset) -> str | None:
        return name if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual) else None

    link = file.id.links.visit(is_not_hard, info=True)
    if link is not None:
        raise SourceError(f"{path} holds a link in place of data at {link}, which is not followed: save it again")
    name = file.visititems(is_stored_elsewhere)
    if name is not None:
        raise SourceError(f"{path} keeps the data of {name} in another file, which is not read: save it as one file")
