"""The fastest delegate for each model on this device: `irv2-benchmark --save` writes it, "auto" reads it.

One JSON file in the user's cache folder: device -> SHA-256 of the flatbuffer -> delegate. The device is part of it
because a home folder may be shared.
"""

from __future__ import annotations

import platform
from pathlib import Path

from edge_runtime._cache_file import cache_path, read_entries, write_entries
from edge_runtime.delegates import DelegateRequest
from edge_runtime.errors import DelegateError

NAME = "fastest.json"


def cache_file() -> Path:
    """Return the path of the file."""
    return cache_path(NAME)


def load_fastest(flatbuffer_sha256: str) -> DelegateRequest | None:
    """Return the fastest delegate for a model; None if none was saved, or if the file cannot be understood."""
    text = read_entries(NAME).get(_device(), {}).get(flatbuffer_sha256)
    try:
        return DelegateRequest.parse(text) if isinstance(text, str) else None
    except DelegateError:
        return None


def save_fastest(flatbuffer_sha256: str, delegate: str) -> Path:
    """Save `delegate` as the fastest for a model on this device, and return the path of the file."""
    saved = read_entries(NAME)
    saved.setdefault(_device(), {})[flatbuffer_sha256] = delegate
    return write_entries(NAME, saved)


def _device() -> str:
    return f"{platform.node()} {platform.machine()}"
