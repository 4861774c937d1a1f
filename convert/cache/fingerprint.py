"""What decides the result of a conversion besides its inputs: code, versions, processor and settings.

No package is imported for it, so that it takes milliseconds. Equal fingerprints stand for equal results, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from convert.system.machine import COMPUTING, machine, versions
from edge_runtime.hashing import file_sha256

OURS = ("convert", "edge_runtime")
SETTINGS = (
    *("KERAS_BACKEND", "TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS", "TF_USE_LEGACY_KERAS"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "MKL_NUM_THREADS"),
)
"""Environment variables that change how numbers are computed."""
KERAS_DEFAULTS = {"floatx": "float32", "epsilon": 1e-07, "backend": "tensorflow", "image_data_format": "channels_last"}
"""What Keras does without a file. It writes one of these when it is first imported, which changes nothing."""


def fingerprint() -> dict[str, Any]:
    """Return everything that decides about a result, as JSON values."""
    return {
        "python": sys.version,
        "packages": versions(COMPUTING),
        "irv2-edge": own_code(Path(__file__).parents[2]),
        "machine": machine(),
        "settings": {name: os.environ.get(name) for name in SETTINGS},
        "keras": _keras_settings(),
    }


def own_code(root: Path) -> str:
    """Hash every file of our own packages below `root`: a version says nothing about an edit."""
    digest = hashlib.sha256()
    for package in OURS:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root).as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _keras_settings() -> str | dict[str, Any]:
    """Return what Keras takes from its file: backend and default types; the file's text where it holds no settings."""
    path = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")) / "keras.json"
    text = path.read_text(errors="replace") if path.is_file() else "{}"
    try:
        settings: dict[str, Any] = KERAS_DEFAULTS | json.loads(text)
        return settings
    except (ValueError, TypeError, RecursionError):
        return text
