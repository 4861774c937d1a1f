"""What a device has, what it lacks, and how it gets that: said to the user, or installed there."""

from __future__ import annotations

import json
from typing import Any

from convert.devices.device import Device
from convert.devices.scripts import script
from convert.devices.ssh import DeviceError, Line

OURS = '"$HOME"/.cache/irv2-edge/python/bin/python'
"""The Python of the environment that `install` makes there, for the device's shell."""
PYTHONS = ("python3", "python3.13", "python3.12", "python3.11", OURS)
LONGEST_LOOK_S = 120.0
OLDEST_PYTHON = [3, 11]
INTERPRETERS = ("ai_edge_litert", "tflite_runtime")


def look_at(line: Line, install: bool = False) -> Device:
    """Return a device that has what the runtime needs; with `install`, what is missing is installed there first.

    Raises:
        DeviceError: something is missing; it says what, and how to get it.
    """
    facts = _look(line)
    missing = _missing(facts)
    if missing and install:
        with line.run([facts["executable"], "-c", script("install"), facts["home"]]) as connection:
            connection.receive()
        facts = _look(line)
        missing = _missing(facts)
    if missing:
        raise DeviceError(
            f"{line.address.text} has no {' and no '.join(missing)}: add --install, or run there {facts['executable']} "
            f"-m pip install {' '.join(missing)}"
        )
    return Device(line, facts)


def _look(line: Line) -> dict[str, Any]:
    """Return what is there beside the Python that lacks least."""
    name = line.address.text
    loop = f'for p in {" ".join(PYTHONS)}; do command -v "$p" >/dev/null 2>&1 && "$p" -'
    with line.run(f"{loop} <<'EOF'\n{script('look')}\nEOF\ndone; true") as connection:
        found = [json.loads(line) for line in connection.lines(LONGEST_LOOK_S) if line.startswith(b"{")]
    if not found:
        raise DeviceError(f"{name} has no Python: install python3, 3.11 or later, there")
    recent = [facts for facts in found if facts["python"] >= OLDEST_PYTHON]
    if not recent:
        version = ".".join(map(str, found[0]["python"]))
        raise DeviceError(f"{name} has Python {version}, 3.11 or later is needed: install python3.11 there")
    best: dict[str, Any] = min(recent, key=lambda facts: len(_missing(facts)))
    return best


def _missing(facts: dict[str, Any]) -> list[str]:
    """Return the packages, as pip calls them, that a Python lacks."""
    there = facts["packages"]
    found = [pip for name, pip in (("numpy", "numpy"), ("PIL", "pillow")) if name not in there]
    return found if any(name in there for name in INTERPRETERS) else [*found, "ai-edge-litert"]
