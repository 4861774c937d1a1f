"""Debian packages unpacked into a folder, of any architecture; the machine's own packages are left alone.

apt is given a state of its own, in which nothing is installed and the lists are those of the wanted architecture.
No rights are needed but to read the machine's sources.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

REQUIRED = ("apt-get", "dpkg")


def skip_without_apt() -> None:
    """Skip the test where there is no apt to fetch packages with."""
    missing = [program for program in REQUIRED if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs Debian's packages, and there is no {' and no '.join(missing)} here")


def unpack(packages: Sequence[str], folder: Path, architecture: str | None = None) -> Path:
    """The folder with what `packages` and all they depend on install; filled once.

    Args:
        packages: names in the machine's Debian release.
        folder: made by the first call.
        architecture: as Debian calls it, "arm64"; None for the machine's own.
    """
    return _unpacked(folder, architecture, ["install", "--download-only", "--no-install-recommends", *packages])


def unpack_alone(packages: Sequence[str], folder: Path) -> Path:
    """The folder with what `packages` themselves install, for this machine's architecture; filled once."""
    return _unpacked(folder, None, ["download", *packages])


def _unpacked(folder: Path, architecture: str | None, command: Sequence[str]) -> Path:
    root, done = folder / "root", folder / "done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        archives = folder / "apt" / "archives"
        archives.mkdir(parents=True)
        apt = _apt(folder / "apt", architecture)
        subprocess.run([*apt, "update"], check=False, capture_output=True)  # one of many sources may be out of order
        _run([*apt, "--yes", *command], archives)
        for archive in sorted(archives.glob("*.deb")):
            _run(["dpkg", "--extract", archive, root], archives)
        shutil.rmtree(folder / "apt")
        done.touch()
    return root


def _apt(state: Path, architecture: str | None) -> list[str | Path]:
    """apt-get with all it writes below `state`: lists, archives, and a status in which nothing is installed."""
    (state / "lists").mkdir()
    (state / "status").touch()
    options = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "Dir::Log": state,
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",  # which is no one where we are not root: no user who cannot write here
        "Debug::NoLocking": "true",
    }
    if architecture is not None:
        options |= {"APT::Architecture": architecture, "APT::Architectures": architecture}
    return ["apt-get", "--quiet=2", *(f"--option={name}={value}" for name, value in options.items())]


def _run(command: Sequence[str | Path], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {done.stderr.strip()}")
