"""Small JSON files in the user's cache folder. Losing one costs time and nothing else."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path


def cache_path(name: str) -> Path:
    """Return the path of a file; as the XDG specification requires, a relative `XDG_CACHE_HOME` is ignored."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (folder if folder.is_absolute() else Path(os.path.expanduser("~/.cache"))) / "irv2-edge" / name


def read_entries(name: str) -> dict[str, dict[str, object]]:
    """Return the entries of a file that are objects; none if it is missing, or cannot be understood."""
    with suppress(OSError, ValueError, RecursionError):
        saved = json.loads(cache_path(name).read_text())
        if isinstance(saved, dict):
            return {key: entry for key, entry in saved.items() if isinstance(entry, dict)}
    return {}


def write_entries(name: str, entries: dict[str, dict[str, object]]) -> Path:
    """Replace a file, and return its path; raise `OSError` if it cannot be written."""
    path = cache_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(entries, indent=1, sort_keys=True))
    partial.replace(path)
    return path
