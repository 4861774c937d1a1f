"""The zip at the end of a model file: its members are read without trusting what they claim."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from edge_runtime.errors import ArtifactError

MAX_MEMBER_BYTES = 8 * 2**20
"""Cards and label files are small: a member that claims to be larger is refused, not inflated."""

DAMAGED_ZIP = (OSError, ValueError, RuntimeError, EOFError, OverflowError, struct.error, zlib.error)
"""What `zipfile` raises for damaged archives, besides its own `BadZipFile`."""


def member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """Return the content of a member of the archive at the end of `path`; KeyError if there is none."""
    info = archive.getinfo(name)
    if info.file_size > MAX_MEMBER_BYTES:
        raise ArtifactError(f"{path}: {name} claims {info.file_size:,} bytes, more than {MAX_MEMBER_BYTES:,}: damaged")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArtifactError(f"{path}: {name} is compressed by method {info.compress_type}, not by deflate: damaged")
    with archive.open(info) as opened:
        return opened.read(MAX_MEMBER_BYTES + 1)[:MAX_MEMBER_BYTES]
