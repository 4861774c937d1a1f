"""How irv2-edge came onto this machine, and so what installs more of it: no package index need have it."""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from convert.system.machine import version

DISTRIBUTION = "irv2-edge"
OURS = ("calibration_data", "convert", "edge_runtime")
RECORD = "direct_url.json"
"""File in which an installer records what it was given, if that was no name on an index; see PEP 610."""


def missing_package(error: ModuleNotFoundError, extra: str) -> str | None:
    """Return in a sentence which package of an extra an import lacks; None if it lacks a module of our own."""
    package = (error.name or "").split(".")[0]
    return None if package in OURS else not_installed(package, extra)


def not_installed(package: str, extra: str) -> str:
    """Return in a sentence that a package of an extra is missing, with the command that installs it.

    Unless the distribution tensorflow is there, a conversion gets the one without CUDA, which is half as large.
    """
    if extra == "convert" and version("tensorflow") is None:
        extra = "convert-cpu"
    return f"{package} is not installed: {install_command(extra)}"


def install_command(extra: str) -> str:
    """Return what installs an extra from where irv2-edge itself was installed: a checkout, a wheel, or an index."""
    try:
        return f"pip install {_requirement(_record(), extra)}"
    except metadata.PackageNotFoundError:  # it is run from a checkout that was not installed
        return f"pip install '.[{extra}]'"


def install_command_elsewhere() -> str:
    """Return what installs the runtime on another machine: its name where an index has it, else the wheel there."""
    try:
        wheel = f"irv2_edge-{metadata.version(DISTRIBUTION)}-py3-none-any.whl"
        return f"pip install {DISTRIBUTION if _record() is None else wheel}"
    except metadata.PackageNotFoundError:
        return "pip install irv2_edge-*.whl"


def _record() -> dict[str, Any] | None:
    """Return what an installer wrote down; None if irv2-edge came from an index."""
    record = metadata.distribution(DISTRIBUTION).read_text(RECORD)
    return None if record is None else dict(json.loads(record))


def _requirement(record: dict[str, Any] | None, extra: str) -> str:
    """Return what pip is given, quoted for a shell."""
    if record is None:
        return shlex.quote(f"{DISTRIBUTION}[{extra}]")
    url, control = record["url"], record.get("vcs_info")
    if urlsplit(url).scheme == "file" and control is None:
        editable = "-e " if record.get("dir_info", {}).get("editable") else ""
        return editable + shlex.quote(f"{url2pathname(urlsplit(url).path)}[{extra}]")
    place = url if control is None else f"{control['vcs']}+{url}@{control['commit_id']}"
    return shlex.quote(f"{DISTRIBUTION}[{extra}] @ {place}")
