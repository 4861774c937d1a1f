"""What is released: wheel and sdist are complete, say the same version, and install where they claim to."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import DemoArtifact

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PICTURE = ROOT / "calibration_data" / "validation" / "bag" / "test_00429.png"
FREE_OF_PYTHONPATH = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
RUNTIME_PLATFORMS = [
    ("3.11", "manylinux_2_28_x86_64"),
    ("3.13", "manylinux_2_28_x86_64"),
    ("3.11", "manylinux_2_28_aarch64"),
    ("3.13", "manylinux_2_28_aarch64"),
    ("3.13", "macosx_14_0_arm64"),
]
"""Where everything that the runtime needs has wheels."""


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT], check=True, capture_output=True
    )
    return next(folder.glob("*.tar.gz"))


def test_version_is_said_alike_everywhere(wheel: Path, sdist: Path) -> None:
    version = PROJECT["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert citation["version"] == version
    assert f"## [{version}]" in changes or f"Will be {version}" in changes
    assert wheel.name.startswith(f"irv2_edge-{version}-")
    assert sdist.name == f"irv2_edge-{version}.tar.gz"


def test_the_changelog_keeps_its_form() -> None:
    headings = re.findall(r"^(#{2,3}) (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == ("##", "[Unreleased]")
    for level, text in headings:
        if level == "##":
            assert re.fullmatch(r"\[Unreleased\]|\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", text)
        else:
            assert text in {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_package_indexes_accept_both(wheel: Path, sdist: Path) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", wheel, sdist]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_licences_of_what_is_bundled_are_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = [archive.read(name).decode() for name in archive.namelist() if "/licenses/" in name]
    for licence in PROJECT["license-files"]:
        assert (ROOT / licence).read_text("utf-8") in texts


def test_the_sdist_has_what_its_documents_link_to_and_makes_the_same_wheel(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    for name in ("README.md", "docs/images/report-light.png", "docs/contracts.md", "mkdocs.yml", "CITATION.cff"):
        assert (folder / name).is_file(), name
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "wheel", folder]
    subprocess.run(build, check=True, capture_output=True)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(next((tmp_path / "wheel").glob("*.whl"))) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def interpreter(version: str) -> str:
    """A Python of that version, from the PATH or from pyenv; without one the test is skipped."""
    places = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    found = next((str(place) for place in places if place and _answers(place)), None)
    return found or pytest.skip(f"there is no Python {version} here")


def _answers(python: str | Path) -> bool:
    return subprocess.run([python, "-c", "import venv"], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_wheel_runs_on_every_python_that_it_is_for(
    wheel: Path, demo_artifact: DemoArtifact, version: str, tmp_path: Path
) -> None:
    subprocess.run([interpreter(version), "-m", "venv", tmp_path / "venv"], check=True, env=FREE_OF_PYTHONPATH)
    folder = tmp_path / "venv" / "bin"
    install = [folder / "python", "-m", "pip", "install", "--quiet", "--only-binary=:all:", wheel]
    subprocess.run(install, check=True, env=FREE_OF_PYTHONPATH)
    command = [folder / "irv2-predict", demo_artifact.path, PICTURE, "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=FREE_OF_PYTHONPATH, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predictions"][0]["label"] == "Bag"


@pytest.mark.parametrize(("python", "platform"), RUNTIME_PLATFORMS)
def test_the_runtime_has_wheels_for(wheel: Path, python: str, platform: str, tmp_path: Path) -> None:
    """pip reads metadata, and downloads nothing else."""
    report = tmp_path / "report.json"
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", report]
    line += ["--only-binary=:all:", "--python-version", python, "--target", tmp_path / "nowhere"]
    line += [part for tag in _also(platform) for part in ("--platform", tag)]
    done = subprocess.run([*line, wheel], check=False, capture_output=True, text=True, env=FREE_OF_PYTHONPATH)
    assert done.returncode == 0, done.stderr
    chosen = {entry["metadata"]["name"].lower() for entry in json.loads(report.read_text())["install"]}
    assert {"irv2-edge", "ai-edge-litert", "numpy", "pillow"} <= chosen


def _also(platform: str) -> list[str]:
    """A platform and the older ones whose wheels run there."""
    if platform.startswith("manylinux"):
        machine = platform.removeprefix("manylinux_2_28_")
        return [f"manylinux_2_{minor}_{machine}" for minor in (28, 27, 17)] + [f"manylinux2014_{machine}"]
    return [platform, *(f"macosx_{major}_0_arm64" for major in (13, 12, 11))]
