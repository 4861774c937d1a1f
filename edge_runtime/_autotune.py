"""The delegate that was the fastest for a model on this device: `irv2-benchmark --save` writes it, "auto" reads it.

One JSON file in the user's cache folder: device -> SHA-256 of the model -> delegate. The device stands in it because
a home folder may be shared; losing the file costs no more than speed.
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
    """Where the choices are kept; `XDG_CACHE_HOME` counts if it is absolute, as its specification wants."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (folder if folder.is_absolute() else Path(os.path.expanduser("~/.cache"))) / "irv2-edge" / "fastest.json"


def recall(model_sha256: str) -> DelegateRequest | None:
    """The delegate remembered for the model; None when none is, or what is there cannot be understood."""
    choices = _choices().get(_device())
    text = choices.get(model_sha256) if isinstance(choices, dict) else None
    try:
        return DelegateRequest.parse(text) if isinstance(text, str) else None
    except DelegateError:
        return None


def remember(model_sha256: str, delegate: str) -> Path:
    """Keep `delegate` as the fastest for the model on this device; the file it now stands in.

    Raises:
        OSError: the file cannot be written.
    """
    path, choices = cache_file(), _choices()
    of_device = choices.get(_device())
    choices[_device()] = {**(of_device if isinstance(of_device, dict) else {}), model_sha256: delegate}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(choices, indent=1, sort_keys=True))
    partial.replace(path)
    return path


def _choices() -> dict[str, object]:
    with suppress(OSError, ValueError, RecursionError):
        choices = json.loads(cache_file().read_text())
        if isinstance(choices, dict):
            return choices
    return {}


def _device() -> str:
    return f"{platform.node()} {platform.machine()}"
