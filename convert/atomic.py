"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from convert.errors import ConvertError


def write_atomically(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a file beside `path`, flush it to the disk, then give it that name.

    Raises:
        ConvertError: it could not be written; nothing is left behind.
    """
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(descriptor)
        partial = Path(name)
        fill(partial)
        partial.chmod(0o644)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise ConvertError(
            f"{path} cannot be written: {error.strerror or error}; free space or pass --output-dir"
        ) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
