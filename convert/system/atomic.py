"""Files that exist whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from convert.errors import ConvertError
from convert.system.temporary import scratch_folder


def write_atomically(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a file in a temporary folder beside `path`, flush it to the disk, then move it to `path`.

    Raises:
        ConvertError: it could not be written; nothing is left behind.
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
        raise ConvertError(
            f"{path} cannot be written: {error.strerror or error}; free space or pass --output-dir"
        ) from error
