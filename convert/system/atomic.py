"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from convert.errors import ConvertError
from convert.system.temporary import partial_file


def write_atomically(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a file beside `path`, flush it to the disk, then give it that name.

    Raises:
        ConvertError: it could not be written; nothing is left behind.
    """
    try:
        with partial_file(path) as (partial, descriptor):
            fill(partial)
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
            partial.replace(path)
    except OSError as error:
        raise ConvertError(
            f"{path} cannot be written: {error.strerror or error}; free space or pass --output-dir"
        ) from error
