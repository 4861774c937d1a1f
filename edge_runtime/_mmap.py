"""Releases the pages of a mapped model once the interpreter has packed the weights into memory of its own.

Without this, a device holds every weight twice. The kernel reads a page from the file again if it is still needed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAPS = Path("/proc/self/maps")
MADV_DONTNEED = 4
"""From Linux's <sys/mman.h>; on a read-only mapping of a file it drops pages and loses nothing."""


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
    """Drop the resident pages of all read-only mappings of a file; do nothing on systems without /proc."""
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
