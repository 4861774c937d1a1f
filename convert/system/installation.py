"""How irv2-edge came onto this machine, and so what installs more of it: no package index need have it."""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

DISTRIBUTION = "irv2-edge"
RECORD = "direct_url.json"
"""File in which an installer records what it was given, if that was no name on an index; see PEP 610."""


def not_installed(package: str, extra: str) -> str:
    """Return in a sentence that a package of an extra is missing, with the command that installs it."""
    return f"{package} is not installed: {install_command(extra)}"


def install_command(extra: str) -> str:
    """Return what installs an extra from where irv2-edge itself was installed: a checkout, a wheel, or an index."""
    try:
        record = metadata.distribution(DISTRIBUTION).read_text(RECORD)
    except metadata.PackageNotFoundError:  # it is run from a checkout that was not installed
        return f"pip install '.[{extra}]'"
    return f"pip install {_requirement({} if record is None else json.loads(record), extra)}"


def _requirement(record: dict[str, Any], extra: str) -> str:
    """Return what pip is given, quoted for a shell."""
    if not record:
        return shlex.quote(f"{DISTRIBUTION}[{extra}]")
    url, control = record["url"], record.get("vcs_info")
    if urlsplit(url).scheme == "file" and control is None:
        editable = "-e " if record.get("dir_info", {}).get("editable") else ""
        return editable + shlex.quote(f"{url2pathname(urlsplit(url).path)}[{extra}]")
    place = url if control is None else f"{control['vcs']}+{url}@{control['commit_id']}"
    return shlex.quote(f"{DISTRIBUTION}[{extra}] @ {place}")
