"""A conversion without --preprocessing: labelled images choose it, and the conversion says what they chose."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from tests.conftest import Finished
from tests.convert.cli.commands import run_here

GREYS = {"bright": 220, "dark": 30, "medium": 120}
SIZE = 8


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells three greys apart by pixels from 0 to 1: argmin (x - c)^2 = argmax 2 x c - c^2."""
    folder = tmp_path_factory.mktemp("greys")
    image = keras.Input((SIZE, SIZE, 3))
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 1)(image))
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(mean))
    centres = np.array([[grey / 255] * 3 for grey in GREYS.values()])
    kernel: Any = np.eye(3)[np.newaxis, np.newaxis]
    model.set_weights([kernel, np.zeros(3), 40 * centres.T, -20 * (centres**2).sum(axis=1)])
    model.save(folder / "greys.keras")
    (folder / "labels.txt").write_text("\n".join(GREYS))
    for name, grey in GREYS.items():
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (SIZE, SIZE), (grey + i,) * 3).save(folder / "photos" / name / f"{i}.png")
    return folder


def convert(project: Path, *options: object) -> Finished:
    return run_here(
        *("irv2-convert", "--model", project / "greys.keras", "--labels", project / "labels.txt", "--quantize", "none"),
        *("--validation", project / "photos", "--output-dir", project, *options),
    )


def test_labelled_images_choose_the_convention(project: Path) -> None:
    """From the cache, too; as if it had been said."""
    for _ in range(2):
        done = convert(project, "--json")
        assert done.code == 4, "thirty images are too few for a verdict"
        (report,) = json.loads(done.out)
        assert report["preprocessing"]["std"] == [255, 255, 255]
        assert report["preprocessing"]["mean"] == [0, 0, 0]
        assert report["drift"]["top1_reference"] == 1
        assert report["warnings"][0].startswith("--preprocessing was not given: unit was chosen, with which the float")
        assert "on 100% of " in report["warnings"][0]
    chosen = (project / "greys.none.tflite").read_bytes()
    assert convert(project, "--json", "--preprocessing", "unit").code == 4
    assert (project / "greys.none.tflite").read_bytes() == chosen


def test_a_dry_run_says_that_images_will_choose(project: Path) -> None:
    done = convert(project, "--dry-run")
    assert done.code == 0, done.err
    assert f"8x8 RGB, scaled as {project / 'photos'} shows (tf, caffe, torch, unit, none; --preprocessing" in done.out
    assert re.search(r"^recognized:  greys\.keras: Keras .*, 3 classes$", done.out, re.MULTILINE)


def test_a_dry_run_counts_labels_as_the_run_does(project: Path) -> None:
    two = project / "two.txt"
    two.write_text("bright\ndark\n")
    (project / "flat").mkdir(exist_ok=True)
    Image.new("RGB", (SIZE, SIZE), (60, 60, 60)).save(project / "flat" / "1.png")
    options = ("--labels", two, "--validation", project / "flat", "--preprocessing", "unit")
    errors = [convert(project, *options, *more).err.splitlines()[-1] for more in ((), ("--dry-run",))]
    assert errors[0] == errors[1]
    assert f"--labels {two} has 2 labels, the network has 3 classes" in errors[0]


def test_folders_that_seem_swapped_are_said(project: Path) -> None:
    (project / "flat").mkdir(exist_ok=True)
    Image.new("RGB", (SIZE, SIZE), (60, 60, 60)).save(project / "flat" / "1.png")
    folders = ("--calibration", project / "photos", "--validation", project / "flat", "--preprocessing", "unit")
    done = convert(project, *folders, "--quantize", "int8", "--dry-run")
    assert done.code == 0
    assert "are not; are --calibration and --validation swapped?" in done.err


def test_images_without_labels_choose_nothing(project: Path, tmp_path: Path) -> None:
    for path in (project / "photos").glob("*/*.png"):
        (tmp_path / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    done = convert(project, "--validation", tmp_path)
    assert done.code == 1
    assert "does not say how its images were prepared: pass --preprocessing" in done.err.splitlines()[-1]
    assert "20 or more images of --validation in class folders choose it" in done.err.splitlines()[-1]
