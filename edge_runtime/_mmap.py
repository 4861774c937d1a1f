"""Model files: mapped to read them, named for native libraries, and their pages released."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ModelFile = str | os.PathLike[str] | bytes
"""The path of a `.tflite` file, which is mapped, or its content."""

MAPS = Path("/proc/self/maps")
MADV_DONTNEED = 4
"""From Linux's <sys/mman.h>; on a read-only mapping of a file it drops pages and loses nothing."""


@contextmanager
def content_of(model: ModelFile) -> Iterator[memoryview]:
    """Give access to the bytes of a model; a file is mapped."""
    if isinstance(model, bytes):
        yield memoryview(model)
        return
    with (
        open(model, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as content,
    ):
        yield content


@contextmanager
def utf8_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """Give a path to the same file that is valid UTF-8, which native libraries require; file names may be any bytes."""
    name = os.fspath(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        with open(name, "rb") as file:
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        yield name


def release_pages(path: str | os.PathLike[str]) -> None:
    """Drop the resident pages of all read-only mappings of a file; do nothing on systems without /proc.

    An interpreter packs weights into memory of its own; without this, a device would then hold them twice. The kernel
    reads a page from the file again if it is still needed.
    """
    try:
        lines = os.fsdecode(MAPS.read_bytes()).splitlines()  # see proc(5)
    except OSError:
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    model = os.path.realpath(path)
    for line in lines:
        addresses, permissions, _, _, _, *name = line.split(maxsplit=5)
        if name == [model] and "w" not in permissions:
            start, end = (int(address, 16) for address in addresses.split("-"))
            madvise(start, end - start, MADV_DONTNEED)
