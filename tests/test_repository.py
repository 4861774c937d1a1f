"""What is in the repository is about the project, and about no machine that it was written on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = re.compile(rb"""(?<![\w.~$}/-])/(?:home(?!/anna/)|Users|root|workspace|work|mnt)/[\w.]+""")
"""Absolute paths that only somebody's own machine has; Anna lives in examples."""


def tracked_files() -> list[Path]:
    """What git keeps; without git, as in an unpacked archive, there is nothing to ask."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_place_on_somebody_s_machine() -> None:
    found = {
        str(path.relative_to(ROOT)): place.group().decode()
        for path in tracked_files()
        if b"\0" not in (content := path.read_bytes()) and (place := PLACES.search(content))
    }
    assert found == {}


def test_an_unfit_python_is_refused_before_anything_is_downloaded(tmp_path: Path) -> None:
    old = tmp_path / "python3.10"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 10, 0); $2"\n')
    old.chmod(0o755)
    command = ["make", "--no-print-directory", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}", "demo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith(f"irv2-edge needs Python 3.11 to 3.13, and {old} is not: ")
    assert not (tmp_path / "venv").exists()
