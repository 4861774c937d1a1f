"""The console: an error is one line, commands end quietly, native libraries are silent, no text moves the cursor."""

from __future__ import annotations

import io
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress

from edge_runtime.errors import EdgeError

ERROR = 1
INTERRUPTED = 130
READER_GONE = 141
ERASE_LINE = "\r\x1b[K"


def run_command(name: str, body: Callable[[], int], debug: bool = False) -> int:
    """Return the exit code of `body`; print an error as one line on stderr, after its traceback with `debug`."""
    with nullcontext() if debug else _stderr_without_libraries():
        try:
            code = body()
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            _drop_stdout()
            return READER_GONE
        except (EdgeError, OSError) as error:
            if isinstance(error, OSError):
                _drop_stdout()
            complain(name, f"error: {error}", error if debug else None)
            return ERROR


def complain(name: str, message: str, cause: BaseException | None = None) -> None:
    """Print one line on stderr, after the traceback of `cause` if there is one."""
    if cause is not None:
        traceback.print_exception(cause)
    print(f"{name}: {printable(message)}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Escape every character that could move the cursor, break the line, or not be encoded."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def prepare_streams() -> None:
    """Make every label and file name printable in every locale; replace closed streams by ones that discard."""
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


_SILENCE = threading.RLock()
"""Two threads that redirect a descriptor would each put back what the other had put there."""


@contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Discard what is written to stderr ("Created TensorFlow Lite XNNPACK delegate for CPU"), from C or Python.

    One thread at a time is in such a block.
    """
    with (
        _SILENCE,
        open(os.devnull, "w") as nowhere,
        redirect_stderr(nowhere),
        descriptors_redirected(nowhere.fileno(), 2),
    ):
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


@contextmanager
def _stderr_without_libraries() -> Iterator[None]:
    """Discard what libraries print to stderr: interpreters about themselves, libtiff about damaged files."""
    with warnings.catch_warnings(action="ignore"):
        try:
            original = os.dup(2) if sys.stderr.fileno() == 2 else None
        except (AttributeError, OSError, ValueError):  # closed, or captured by the caller
            original = None
        if original is None:
            yield
            return
        with (
            open(original, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace") as stderr,
            native_stderr_silenced(),
            redirect_stderr(stderr),
        ):
            yield


def _drop_stdout() -> None:
    """Keep the flush at exit from failing again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
