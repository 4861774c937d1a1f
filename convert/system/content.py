"""Hash what the user names as one input: a file, or a folder such as a SavedModel."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edge_runtime.hashing import file_sha256


def content_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, or of the names and contents of the files below a folder.

    Hidden files, such as those that file managers leave, do not count. What cannot be read is an OSError.
    """
    if not path.is_dir():
        return file_sha256(path)
    below = {file.relative_to(path): file for file in path.rglob("*") if file.is_file()}
    visible = {name: file for name, file in below.items() if not any(part.startswith(".") for part in name.parts)}
    lines = sorted(f"{file_sha256(file)} {name.as_posix()}" for name, file in visible.items())
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
