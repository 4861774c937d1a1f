"""How the C library of Linux keeps what a process has freed."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3), from glibc's <malloc.h>."""
LARGE = 2**20
"""Bytes from which on a block of memory is mapped by itself, and goes back to the system when it is freed."""
MOST_KEPT = 16 * 2**20
"""Bytes of smaller blocks that are kept at the end of a heap after they are freed."""


def return_freed_memory() -> None:
    """Let this process give freed memory back to the system, in place of up to 0.8 GB kept for later.

    By default glibc raises both limits whenever a large block is freed, to 32 and 64 MB. Tensors then lie in the heaps
    of threads, between small blocks that stay, and what is free between them is seldom of a size that is asked for
    next. Nothing happens where the C library is another.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
