"""`irv2-convert --quantize int8` on a network that cannot be int8 throughout: its name, and all that goes by it."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import pytest

from edge_runtime.artifact import open_artifact
from tests.conftest import Finished, run_command
from tests.convert.pictures import noise, pictures

GENEROUS = ["--min-agreement", "1"]


@pytest.fixture(scope="module")
def softplus(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """A network with an activation that has no integer kernel, between two convolutions, and images."""
    keras.utils.set_random_seed(2)
    folder = tmp_path_factory.mktemp("softplus")
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, activation="softplus", name="smooth")(image)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(12, 3, activation="relu", name="features")(x))
    keras.Model(image, keras.layers.Dense(4, activation="softmax")(x)).save(folder / "mine.keras")
    pictures(folder / "calibration", 12, noise)
    pictures(folder / "validation", 40, lambda random: 255 - noise(random))
    return [
        "--model", folder / "mine.keras", "--preprocessing", "tf",
        "--calibration", folder / "calibration", "--validation", folder / "validation",
    ]  # fmt: skip


def converted(arguments: list[object], folder: Path, *more: str) -> Finished:
    return run_command("irv2-convert", *arguments, *more, "--output-dir", folder)


@pytest.fixture(scope="module")
def renamed(softplus: list[object], tmp_path_factory: pytest.TempPathFactory) -> tuple[Finished, Path]:
    folder = tmp_path_factory.mktemp("renamed")
    finished = converted(softplus, folder, *GENEROUS)
    assert finished.code == 0, finished.err
    return finished, folder / "mine.mixed.tflite"


def test_what_stays_in_float_is_named_mixed_and_said(renamed: tuple[Finished, Path]) -> None:
    finished, path = renamed
    assert "int8 is not what the audit finds, so it is named mixed" in finished.err
    assert "smooth" in finished.err
    assert not list(path.parent.glob("*.int8*"))
    assert open_artifact(path).card.scheme == "mixed"
    report = json.loads(path.with_name(f"{path.name}.report.json").read_text())
    assert report["scheme"] == "mixed"
    assert {island["layer"].partition("_")[0] for island in report["float_islands"]} == {"smooth"}
    assert run_command("irv2-inspect", path, "--require", "int8").code == 3


def test_it_can_be_repeated_to_the_byte_with_what_was_asked_for(
    softplus: list[object], renamed: tuple[Finished, Path]
) -> None:
    verified = run_command("irv2-convert", "verify", renamed[1], *softplus)
    assert verified.code == 0, verified.err
    assert "identical" in verified.out


def test_recovery_begins_where_the_name_was_lost(softplus: list[object], tmp_path: Path) -> None:
    finished = converted(softplus, tmp_path, "--recover", "--min-agreement", "99.9")
    assert "Traceback" not in finished.err
    assert finished.code in (0, 3, 4), finished.err
    assert {path.name.split(".")[1] for path in tmp_path.glob("*.tflite")} == {"mixed"}


def test_of_two_artifacts_of_one_name_the_last_stays_and_a_line_says_so(softplus: list[object], tmp_path: Path) -> None:
    finished = converted(softplus, tmp_path, *GENEROUS, "--quantize", "int8,mixed", "--keep-float", "^features")
    assert finished.code == 0, finished.err
    assert "mine.mixed.tflite is made twice, and the last one stays" in finished.err
    report = json.loads((tmp_path / "mine.mixed.tflite.report.json").read_text())
    assert [layer.partition("_")[0] for layer in report["float_layers"]] == ["features"]
    assert finished.out.split().count(str(tmp_path / "mine.mixed.tflite")) == 1
