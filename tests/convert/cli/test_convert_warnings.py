"""Why the figures of a conversion may not be what they seem to be is said wherever they stand."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.conftest import COLOURS, SIZE
from tests.convert.cli.commands import run_here


@pytest.mark.usefixtures("lowered_at_once")
def test_few_calibration_images_are_said_beside_the_verdict(arguments: list[object], tmp_path: Path) -> None:
    few = ("--calibration-size", 5, "--validation-size", 20, "--output-dir", tmp_path, "--quiet")
    finished = run_here("irv2-convert", *arguments, *few)
    warning = "images to calibrate on: 5; pass about 100 with --calibration, like those that the network will see"
    assert f"warning: {warning}\n" in finished.out
    assert json.loads((tmp_path / "colours.int8.tflite.report.json").read_text())["warnings"][1:] == [warning]


def test_a_float_network_to_be_doubted_is_doubted_wherever_its_figures_stand(
    validation_folder: Path, tmp_path: Path
) -> None:
    """It always gives the same answer; from the cache, too."""
    image = keras.Input((SIZE, SIZE, 3))
    mean = keras.layers.GlobalAveragePooling2D()(image)
    blind = keras.Model(image, keras.layers.Dense(3, "softmax")(mean))
    blind.set_weights([np.zeros((3, 3)), np.array([1, 0, 0])])
    blind.save(tmp_path / "blind.keras")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(COLOURS))
    arguments = ("--model", tmp_path / "blind.keras", "--preprocessing", "tf", "--validation", validation_folder)
    for _ in range(2):
        done = run_here(
            *("irv2-convert", *arguments, "--labels", labels, "--quantize", "none", "--json"),
            *("--output-dir", tmp_path),
        )
        assert done.code == 0, done.err
        (report,) = json.loads(done.out)
        (warning,) = report["warnings"]
        assert "which is chance for 3 folders and 3 labels: check --preprocessing" in warning
        assert f"warning: {warning}\n" in done.err
        assert warning in (tmp_path / "blind.none.tflite.report.html").read_text()
