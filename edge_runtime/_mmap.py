"""A mapped model's pages, given back once the interpreter has packed its weights into memory of its own.

Without this a device holds every weight twice. The kernel reads a page again, from the file, if it is needed after all.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAPS = Path("/proc/self/maps")
MADV_DONTNEED = 4
"""From Linux' <sys/mman.h>; on a read-only mapping of a file it drops pages and loses nothing."""


@contextmanager
def text_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """A path of the same file that native libraries take: theirs are UTF-8, and names of files may be any bytes."""
    name = os.fspath(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        with open(name, "rb") as file:
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        yield name


def release_pages(path: str | os.PathLike[str]) -> None:
    """Drop the resident pages of all read-only mappings of a file; does nothing on systems without /proc."""
    ranges = list(_read_only_mappings(os.path.realpath(path)))
    if not ranges:
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for start, end in ranges:
        madvise(start, end - start, MADV_DONTNEED)


def _read_only_mappings(path: str) -> Iterator[tuple[int, int]]:
    """(first, one past last) address of each mapping of a file that nobody may write to; see proc(5)."""
    try:
        lines = os.fsdecode(MAPS.read_bytes()).splitlines()
    except OSError:
        return
    for line in lines:
        addresses, permissions, _, _, _, *name = line.split(maxsplit=5)
        if name == [path] and "w" not in permissions:
            start, end = addresses.split("-")
            yield int(start, 16), int(end, 16)
