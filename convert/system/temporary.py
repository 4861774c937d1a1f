"""Temporary folders that leave nothing behind, and files that are written whole or not at all.

A folder goes when its work is done, or with the next run if its process was killed. A process holds a lock (flock) on
each of its folders for as long as it lives, and the kernel releases it however the process ends: a folder that is not
locked is left over. Unlike process numbers, this also works between containers that share a folder, and after a
restart.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convert.errors import ConvertError

LEFT_BEHIND = re.compile(r"\.irv2-scratch-[0-9a-f]{8}")
"""Names that only this module gives."""


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in `parent`, and remove it when the block ends, fails or is interrupted.

    What killed processes have left in `parent` is removed first. A folder that cannot be made is an OSError.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    path, descriptor = _new_name(parent), None
    try:  # named before it is made, so that it is removed whenever an interruption comes
        while descriptor is None:
            with suppress(FileExistsError):  # not `exist_ok`, which fails where another process sweeps it meanwhile
                path.mkdir(mode=0o700)
            descriptor = _locked(path)
        yield path
    finally:
        try:
            _remove(path)
        finally:  # again, where a signal interrupts the first time
            _remove(path)
            if descriptor is not None:
                os.close(descriptor)


def refuse_unwritable(paths: Iterable[Path]) -> None:
    """Raise the `ConvertError` that `write_atomically` would, before the work whose result it is to write."""
    for path in paths:
        folder = next(each for each in path.absolute().parents if each.exists())
        if path.is_dir():
            raise _unwritable(path, os.strerror(errno.EISDIR))
        if not folder.is_dir():
            raise _unwritable(path, os.strerror(errno.ENOTDIR))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _unwritable(path, os.strerror(errno.EACCES))


def write_atomically(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a file in a temporary folder beside `path`, flush it to the disk, then move it to `path`.

    A file that cannot be written is a `ConvertError`; nothing is left behind.
    """
    try:
        with scratch_folder(path.parent) as scratch:
            partial = scratch / "partial"
            fill(partial)
            with partial.open("rb") as file:
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            partial.replace(path)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def _unwritable(path: Path, why: str) -> ConvertError:
    return ConvertError(f"{path} cannot be written: {why}; free space or write elsewhere")


def sweep(parent: Path) -> None:
    """Remove what killed processes have left in a folder; what cannot be removed stays."""
    for path in parent.iterdir():
        if LEFT_BEHIND.fullmatch(path.name):
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(path)
                finally:
                    os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a file or folder, if it exists, after renaming it, or raising OSError: nobody finds half of it."""
    gone = _new_name(path.parent)
    with suppress(FileNotFoundError):
        path.rename(gone)
    _remove(gone)


def _new_name(parent: Path) -> Path:
    return parent / f".irv2-scratch-{secrets.token_hex(4)}"


def _locked(path: Path) -> int | None:
    """Return a locked descriptor of a folder, or None if another process has just swept it away.

    On a disk without locks nothing is locked, and nothing is ever swept.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        swept = not path.exists()
    except BlockingIOError:
        swept = True
    except OSError:
        swept = False
    if swept:
        os.close(descriptor)
    return None if swept else descriptor


def _remove(path: Path) -> None:
    """Remove a file or folder as far as that is possible."""
    with suppress(OSError):
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
