"""The scripts of this room that run on a device, as text: `look`, `install` and `receive`."""

from __future__ import annotations

from pathlib import Path


def script(name: str) -> str:
    """Return the text of a script."""
    return Path(__file__).with_name(f"{name}.py").read_text("utf-8")
