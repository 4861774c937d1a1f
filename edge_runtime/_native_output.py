"""Keeps what native libraries print off the streams of the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress


@contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Discard what is written to stderr ("Created TensorFlow Lite XNNPACK delegate for CPU"), from C or Python."""
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere), descriptors_redirected(nowhere.fileno(), 2):
        yield


@contextmanager
def descriptors_redirected(target: int, *descriptors: int) -> Iterator[None]:
    """Let file descriptors write to `target` for a while; those that are closed, as in a daemon, stay closed."""
    originals = {}
    for descriptor in descriptors:
        with suppress(OSError):  # it is closed
            originals[descriptor] = os.dup(descriptor)
    try:
        for descriptor in originals:
            os.dup2(target, descriptor)
        yield
    finally:
        for descriptor, original in originals.items():
            os.dup2(original, descriptor)
            os.close(original)
