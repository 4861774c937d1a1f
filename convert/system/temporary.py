"""Temporary files and folders that belong to a living process, and those that a killed one has left behind.

A process holds a lock (flock) on each of its own for as long as it lives: the kernel takes it away with the process,
however that ends. What nobody holds is nobody's. Unlike process numbers, this holds between containers that share a
folder, and after a restart.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LEFT_BEHIND = re.compile(r"\.irv2-scratch-[0-9a-f]{8}|\..*\.[0-9a-f]{8}\.irv2-partial", re.DOTALL)
"""Names that nobody else gives."""


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder in `parent` that is gone when the work is done, has failed or was interrupted.

    Raises:
        OSError: it cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    path = parent / f".irv2-scratch-{secrets.token_hex(4)}"
    with _owned(path, lambda: path.mkdir(mode=0o700)):
        yield path


@contextmanager
def partial_file(path: Path) -> Iterator[tuple[Path, int]]:
    """A new file beside `path`, and its descriptor; gone afterwards unless it was renamed.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.irv2-partial")
    with _owned(partial, lambda: partial.touch(mode=0o600, exist_ok=False)) as descriptor:
        yield partial, descriptor


def sweep(parent: Path) -> None:
    """Remove what killed processes have left in a folder; what cannot be removed stays."""
    for path in parent.iterdir():
        if LEFT_BEHIND.fullmatch(path.name):
            with suppress(OSError):
                _remove_if_nobodys(path)


@contextmanager
def _owned(path: Path, make: Callable[[], None]) -> Iterator[int]:
    """Make a file or a folder and hold it, after a sweep; removed at the end.

    It has its name before it is made, so that it is found whenever an interruption comes.
    """
    sweep(path.parent)
    descriptor = None
    try:
        while descriptor is None:
            make()
            descriptor = _held(path)
        yield descriptor
    finally:
        try:
            _remove(path)
        finally:  # again, where a signal interrupts it
            _remove(path)
            if descriptor is not None:
                os.close(descriptor)


def _held(path: Path) -> int | None:
    """A descriptor with a lock; None when another process has swept `path` away before it was locked."""
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDONLY)
        _lock(descriptor)
        if os.path.samestat(os.stat(path), os.fstat(descriptor)):
            return descriptor
    except (FileNotFoundError, BlockingIOError):
        _remove(path)
    if descriptor is not None:
        os.close(descriptor)
    return None


def _lock(descriptor: int) -> None:
    """Where the disk has no locks, none is held, and nothing is ever swept."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return


def _remove_if_nobodys(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
