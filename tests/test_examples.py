"""Every command and every Python example of the README and the docs, run as they stand, page by page.

Each page has a folder of its own with what its reader has: mine.keras, labels.txt, photos, and an artifact. An example
that cannot run here has `<!-- not run: REASON -->` in front.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import DemoArtifact, run_command, save_colour_pictures

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NEED_DEVICES = ("devices-ssh.md", "devices/*.md")
"""Pages whose commands need the device that they are about; tests/devices has what can be tried without."""

PAGES = sorted(set(DOCS.rglob("*.md")) - {page for pattern in NEED_DEVICES for page in DOCS.glob(pattern)})
EXAMPLE = re.compile(r"^(<!-- not run: .+? -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IN_YAML = re.compile(r"^\s*- (?:run: )?(irv2-\S.*)$", re.MULTILINE)
"""The commands of a CI job."""

SHELL, PYTHON, YAML = "sh", "python", "yaml"


@dataclass(frozen=True)
class Example:
    """One block of code; `skipped` where a comment says that it is not run."""

    language: str
    code: str
    skipped: bool


def examples(page: Path) -> list[Example]:
    """All blocks of a page that are code."""
    found = EXAMPLE.findall(page.read_text("utf-8"))
    return [Example(language, code, bool(skipped)) for skipped, language, code in found]


def run(example: Example, folder: Path, cache: Path | None = None) -> str:
    """Run one example in a folder, and return what it prints; a test fails with what it complains of."""
    if example.language == PYTHON:
        command = [sys.executable, "-c", example.code]
    else:
        code = example.code if example.language == SHELL else "\n".join(IN_YAML.findall(example.code))
        command = ["bash", "-euo", "pipefail", "-c", code]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "160"} | (
        {} if cache is None else {"IRV2_CACHE_DIR": str(cache)}
    )
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, f"{example.code}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def reader(
    small_model: Path, colour_labels: Path, calibration_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with what a reader of any page has."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copyfile(small_model, folder / "mine.keras")
    shutil.copyfile(colour_labels, folder / "labels.txt")
    (folder / "photos" / "new").mkdir(parents=True)
    (folder / "photos" / "calibration").symlink_to(calibration_folder)
    validation = save_colour_pictures(
        folder / "photos" / "validation", 250, seed=2
    )  # enough for a gate that stops early
    for picture in sorted(validation.rglob("00*.png")):
        Image.open(picture).resize((90, 90)).save(folder / "photos" / "new" / f"{picture.parent.name}-{picture.name}")
    Image.open(min(validation.rglob("*.png"))).save(folder / "photo.jpg")
    finished = run_command(
        "irv2-convert", "--model", "mine.keras", "--labels", "labels.txt", "--preprocessing", "tf",
        "--calibration", "photos/calibration", "--validation", "photos/validation", cwd=folder,
    )  # fmt: skip
    assert finished.code == 0, finished.err
    for name in ("irv2-demo", "mine"):
        shutil.copyfile(folder / "build" / "mine.int8.tflite", folder / f"{name}.int8.tflite")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all pages: a page clears it."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_examples_of_a_page_run(page: Path, reader: Path, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(reader, folder, symlinks=True)
    for example in examples(page):
        if example.language in (SHELL, PYTHON, YAML) and not example.skipped:
            run(example, folder, cache)


def test_the_readme_s_two_commands_print_what_it_says(demo_artifact: DemoArtifact, tmp_path: Path) -> None:
    """The demo was converted by another test of the run or is now; here it comes from its cache."""
    (tmp_path / "calibration_data").symlink_to(ROOT / "calibration_data")
    found = examples(ROOT / "README.md")
    (commands,) = (each for each in found if each.language == SHELL and not each.skipped)
    printed = run(commands, tmp_path)
    for block in (each for each in found if each.language == "text"):
        for line in block.code.splitlines():
            assert f"\n{line.split('  ')[0]}  " in f"\n{printed}" or line in printed, line
    assert demo_artifact.path.read_bytes() == (tmp_path / "build" / demo_artifact.path.name).read_bytes()


def test_examples_that_are_not_run_say_why() -> None:
    reasons = [each for page in (*PAGES, ROOT / "README.md") for each in examples(page) if each.skipped]
    assert 0 < len(reasons) < 12, "an exception, not the rule"
