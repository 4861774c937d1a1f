"""A folder into which something else puts pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from edge_runtime.errors import CameraError
from edge_runtime.preprocess import SUFFIXES, ImageSource

POLL_S = 0.1

Stamp = tuple[int, int, int]
"""Time of the last change in nanoseconds, size in bytes, and inode: another stamp is another picture."""


class FilledFolder:
    """New and replaced pictures directly in a folder; what lies there from the start is not new."""

    def __init__(self, text: str) -> None:
        self.name = text

    def frames(self) -> Iterator[ImageSource]:
        """Yield paths, the oldest first, once two looks 0.1 s apart find a file unchanged; see `Camera.frames`."""
        seen = previous = self._look()
        while True:
            time.sleep(POLL_S)
            found = self._look()
            complete = [path for path, stamp in found.items() if previous.get(path) == stamp != seen.get(path)]
            seen = {path: stamp for path, stamp in seen.items() if path in found}  # as large as the folder, no larger
            for path in sorted(complete, key=lambda path: found[path]):
                seen[path] = found[path]
                yield path
            previous = found

    def _look(self) -> dict[str, Stamp]:
        """Return the pictures in the folder that are not hidden or empty."""
        found = {}
        try:
            with os.scandir(self.name) as entries:
                for entry in entries:
                    if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
                        found[entry.path] = _stamp(entry)
        except OSError as error:
            raise CameraError(f"{self.name} cannot be read: {error.strerror}; check the folder") from error
        return {path: stamp for path, stamp in found.items() if stamp is not None}


def _stamp(entry: os.DirEntry[str]) -> Stamp | None:
    try:
        status = entry.stat()
    except OSError:  # it has gone again
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status.st_size else None
