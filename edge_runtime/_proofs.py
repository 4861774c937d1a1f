"""Which delegates have passed their trial on this machine, and with what: one JSON file in the user's cache folder.

A proof holds for one model, delegate, its library and options, interpreter and system, and as long as every library
that was loaded, drivers included, is the file that it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from contextlib import suppress
from pathlib import Path

from edge_runtime._cache_file import read_entries, write_entries
from edge_runtime._mmap import MAPS
from edge_runtime.delegation import Delegation
from edge_runtime.hashing import file_sha256

NAME = "proven.json"
MOST_PROOFS = 100
VARIABLES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES")
"""Variables of the environment that decide about drivers."""


def key_of(delegation: Delegation) -> str:
    """Return a hash of everything that a trial depends on and that is known before it."""
    model, library = delegation.model, delegation.library
    parts = (
        file_sha256(model.path) if model.artifact is None else model.artifact.card.sha256,
        str(model.spec),
        (delegation.request.name, sorted(delegation.request.options.items())),
        None if library is None else (os.fspath(library), file_sha256(library) if library.is_file() else None),
        (*delegation.choice, delegation.accelerator, delegation.workers),
        (platform.python_version(), platform.node(), *platform.uname()[2:5]),  # the kernel: drivers are a part of it
        [os.environ.get(name) for name in VARIABLES],
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_proven(key: str) -> bool:
    """Return whether a trial was passed, and every library that it loaded is still the same file."""
    proof = read_entries(NAME).get(key, {})
    libraries = proof.get("libraries")
    return isinstance(libraries, list) and bool(libraries) and proof.get("state") == _state_of(libraries)


def keep(key: str, libraries: list[str]) -> None:
    """Remember a passed trial; not where the folder cannot be written, or the system does not tell libraries."""
    proofs = read_entries(NAME)
    proofs[key] = {"libraries": libraries, "state": _state_of(libraries), "time": time.time()}
    newest = sorted(proofs, key=lambda each: str(proofs[each].get("time")))[-MOST_PROOFS:]
    with suppress(OSError):
        write_entries(NAME, {each: proofs[each] for each in newest})


def loaded_libraries() -> list[str]:
    """Return the paths of the libraries that this process has loaded; none on systems without /proc."""
    with suppress(OSError):
        lines = (line.split(maxsplit=5) for line in os.fsdecode(MAPS.read_bytes()).splitlines())  # see proc(5)
        return sorted({line[5] for line in lines if len(line) == 6 and "x" in line[1] and os.path.isfile(line[5])})
    return []


def _state_of(libraries: list[str]) -> str:
    """Return a hash of the sizes and times of files; those that are gone count, too."""
    found = []
    for name in libraries:
        try:
            status = Path(name).stat()
            found.append((name, status.st_size, status.st_mtime_ns, status.st_ino))
        except (OSError, TypeError, ValueError):
            found.append((str(name), 0, 0, 0))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()
