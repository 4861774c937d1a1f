"""Versions of TensorFlow, each in an environment of its own below `.venv-origins` (or $IRV2_ORIGINS), made once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from convert.system.machine import version

ROOT = Path(__file__).parents[2]
KEPT = Path(os.environ.get("IRV2_ORIGINS") or ROOT / ".venv-origins")
MAKE_MODELS = Path(__file__).with_name("make_models.py")
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
FREE_OF_PYTHONPATH = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
IS_QUICK = bool(os.environ.get("IRV2_ORIGINS_QUICK"))


class MissingPythonError(Exception):
    """The Python that a version needs is not on this machine."""


@dataclass(frozen=True)
class Origin:
    """A version of TensorFlow that people saved models with.

    Attributes:
        name: of its folder.
        title: for the table.
        python: the version it has wheels for; "" for ours.
        wanted: what pip installs.
        variables: of the environment in which it runs.
        is_quick: whether the quick form tries it.
    """

    name: str
    title: str
    python: str = ""
    wanted: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    is_quick: bool = False

    def make_models(self, folder: Path, *arguments: str) -> None:
        """Run `make_models.py` in this version; it writes into `folder`."""
        command = [str(self._python()), str(MAKE_MODELS), str(folder), *arguments]
        environment = FREE_OF_PYTHONPATH | QUIET | self._variables()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{self.title}: {done.stderr[-3000:]}"

    def _python(self) -> Path:
        """The interpreter of its environment, which the first call makes."""
        if not self.python:
            return Path(sys.executable)
        folder = KEPT / self.name
        if not (folder / "ok").exists():
            base = find_python(self.python)
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([base, "-m", "venv", folder], check=True)
            pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--upgrade", "pip"], check=True)
            subprocess.run([*pip, *self.wanted], check=True)
            (folder / "ok").touch()
        return folder / "bin" / "python"

    def _variables(self) -> dict[str, str]:
        """The variables; a package beside our TensorFlow is installed into a folder of its own."""
        if self.python or not self.wanted:
            return self.variables
        folder = KEPT / self.name
        if not (folder / "ok").exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--no-deps", "--target", folder]
            subprocess.run([*pip, *self.wanted], check=True)
            (folder / "ok").touch()
        return self.variables | {"PYTHONPATH": str(folder)}


def find_python(version: str) -> Path:
    """An interpreter of that version: on PATH, or one that pyenv keeps; shims on PATH may name one that is not there.

    Raises:
        MissingPythonError: there is none that runs.
    """
    for candidate in _candidates(version):
        try:
            done = subprocess.run([candidate, "-c", "import sys; print(sys.version)"], capture_output=True, check=False)
        except OSError:
            continue
        if done.returncode == 0 and done.stdout.decode().startswith(f"{version}."):
            return candidate
    raise MissingPythonError(f"Python {version} is not on this machine")


def _candidates(version: str) -> Iterator[Path]:
    found = shutil.which(f"python{version}")
    if found:
        yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)


def _release_of_tensorflow() -> str:
    release = version("tensorflow") or version("tensorflow-cpu")
    assert release is not None
    return ".".join(re.findall(r"\d+", release)[:2])


OLD_PROTOBUF, OLD_NUMPY = "protobuf<3.20.4", "numpy<1.24"
ORIGINS = (
    Origin("tf24", "TensorFlow 2.4", "3.8", ("tensorflow-cpu==2.4.*",), is_quick=True),
    Origin("tf26", "TensorFlow 2.6", "3.9", ("tensorflow-cpu==2.6.*", "keras==2.6.*", OLD_PROTOBUF)),
    Origin("tf29", "TensorFlow 2.9", "3.10", ("tensorflow-cpu==2.9.*", OLD_PROTOBUF, OLD_NUMPY)),
    Origin("tf212", "TensorFlow 2.12", "3.11", ("tensorflow-cpu==2.12.*", OLD_PROTOBUF, OLD_NUMPY), is_quick=True),
    Origin("tf215", "TensorFlow 2.15", "3.11", ("tensorflow-cpu==2.15.*",)),
    Origin(
        "tf_keras",
        "tf-keras of this TensorFlow",
        wanted=(f"tf-keras=={_release_of_tensorflow()}.*",),
        variables={"TF_USE_LEGACY_KERAS": "1"},
    ),
    Origin("keras_3", "Keras 3 of this environment", is_quick=True),
)
