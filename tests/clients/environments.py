"""The programs of others, each in a virtual environment of its own below `build/clients`, made once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Finished

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "clients"
PROGRAMS = Path(__file__).parent / "programs"
FOREVER = (3, 99)
FREE_OF_PYTHONPATH = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@dataclass(frozen=True)
class Client:
    """What pip installs, and where it does.

    Attributes:
        package, version: on PyPI; whose program it is.
        others: what it needs beside its own dependencies, or other than they say.
        newest_python: the last (major, minor) that there are wheels for, as PyPI lists them.
        dependencies: whether pip installs what the package depends on.
    """

    package: str
    version: str
    others: tuple[str, ...] = ()
    newest_python: tuple[int, int] = FOREVER
    dependencies: bool = True

    @property
    def name(self) -> str:
        """For the table, and of the folder."""
        return f"{self.package} {self.version}"

    def python(self) -> Path:
        """The environment's interpreter; the first call makes the environment, from wheels alone.

        Skips the test where there are no wheels for this Python.
        """
        if sys.version_info[:2] > self.newest_python:
            pytest.skip(f"{self.name} has no wheels for Python {sys.version_info.major}.{sys.version_info.minor}")
        wanted = [f"{self.package}=={self.version}", *self.others]
        return _environment(self.name.replace(" ", "-"), wanted, [] if self.dependencies else ["--no-deps"])

    def run(self, *arguments: object, **variables: str) -> Finished:
        """`python ARGUMENTS` in the environment, with these environment variables."""
        done = subprocess.run(
            [self.python(), *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            env=FREE_OF_PYTHONPATH | variables,
            timeout=300,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def answer(self, program: str, *arguments: object, **variables: str) -> Any:
        """What one of our small programs prints last, which is JSON; it ends well."""
        done = self.run(PROGRAMS / program, *arguments, **variables)
        assert done.code == 0, done.err[-2000:]
        return json.loads(done.out.splitlines()[-1])


def _environment(folder_name: str, wanted: list[str], options: list[str]) -> Path:
    folder, about = KEPT / folder_name, json.dumps([sys.version, wanted, options])
    made, digest = folder / "made", hashlib.sha256(about.encode()).hexdigest()
    if not made.exists() or made.read_text() != digest:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, env=FREE_OF_PYTHONPATH)
        pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
        subprocess.run([*pip, "--only-binary=:all:", *options, *wanted], check=True, env=FREE_OF_PYTHONPATH)
        made.write_text(digest)
    return folder / "bin" / "python"
