"""The runtime in one file: `edge_runtime` as a zipapp that answers jobs, equal byte for byte wherever it is made."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import edge_runtime

MAIN = "from edge_runtime._agent import main\nmain()\n"


def runtime_archive() -> bytes:
    """Return the zipapp."""
    file, package = io.BytesIO(), Path(edge_runtime.__file__).parent
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), MAIN, zipfile.ZIP_DEFLATED)
        for path in sorted(package.rglob("*.py")):
            name = path.relative_to(package.parent).as_posix()
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return file.getvalue()
