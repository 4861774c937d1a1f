"""The fastest delegate for each model on this device: `irv2-benchmark --save` writes it, "auto" reads it.

One JSON file in the user's cache folder: device -> SHA-256 of the flatbuffer -> delegate. The device is part of it
because a home folder may be shared. Losing the file costs speed and nothing else.
"""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from pathlib import Path

from edge_runtime.delegates import DelegateRequest
from edge_runtime.errors import DelegateError


def cache_file() -> Path:
    """Return the path of the file; as the XDG specification requires, a relative `XDG_CACHE_HOME` is ignored."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (folder if folder.is_absolute() else Path(os.path.expanduser("~/.cache"))) / "irv2-edge" / "fastest.json"


def load_fastest(flatbuffer_sha256: str) -> DelegateRequest | None:
    """Return the fastest delegate for a model; None if none was saved, or if the file cannot be understood."""
    text = _read().get(_device(), {}).get(flatbuffer_sha256)
    try:
        return DelegateRequest.parse(text) if isinstance(text, str) else None
    except DelegateError:
        return None


def save_fastest(flatbuffer_sha256: str, delegate: str) -> Path:
    """Save `delegate` as the fastest for a model on this device, and return the path of the file."""
    path, saved = cache_file(), _read()
    saved.setdefault(_device(), {})[flatbuffer_sha256] = delegate
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(saved, indent=1, sort_keys=True))
    partial.replace(path)
    return path


def _read() -> dict[str, dict[str, object]]:
    with suppress(OSError, ValueError, RecursionError):
        saved = json.loads(cache_file().read_text())
        if isinstance(saved, dict):
            return {device: delegates for device, delegates in saved.items() if isinstance(delegates, dict)}
    return {}


def _device() -> str:
    return f"{platform.node()} {platform.machine()}"
