"""`irv2-convert init`: what it finds in a folder, and that the commands take what it writes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from convert.keras_models.weight_formats import HDF5_START
from tests.convert.cli.commands import run_here


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(*path: str) -> None:
    file = Path(*path)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(file)


def written() -> dict[str, object]:
    return tomllib.loads(Path("irv2.toml").read_text())


def test_what_is_there_is_filled_in(folder: Path, network_of_three_classes: bytes) -> None:
    Path("models").mkdir()
    Path("models/mine.tflite").write_bytes(network_of_three_classes)
    Path("models/notes.h5").write_text("no network")
    Path("labels.txt").write_text("a\nb\nc\n")
    picture("data", "train", "a", "1.jpg")
    picture("data", "val", "a", "2.jpg")
    picture("data", "test.png")
    Path("data/validation").mkdir()  # empty
    finished = run_here("irv2-convert", "init")
    assert finished.code == 0, finished.err
    found = {
        "model": "models/mine.tflite",
        "labels": "labels.txt",
        "calibration": "data/train",
        "validation": "data/val",
    }
    assert {key: written()[key] for key in found} == found
    assert written()["artifact"] == "build/mine.int8.tflite"
    assert written()["reference"] == "models/mine.tflite"
    assert (written()["max-drop"], written()["min-agreement"]) == (2.0, 95.0)
    assert written()["drift"] == {"stop-early": False}, "as irv2-convert judges"
    for key, value in found.items():
        assert re.search(rf"^{key} +{value}$", finished.out, re.MULTILINE)
    assert finished.out.splitlines()[-1] == "wrote irv2.toml; next: irv2-convert --dry-run"


def test_a_keras_file_comes_before_a_savedmodel_and_that_before_weights(folder: Path, small_model: Path) -> None:
    Path("a.weights.h5").write_bytes(HDF5_START)
    Path("mine.tflite").write_bytes(b"\0\0\0\0TFL3")
    run_here("irv2-convert", "init")
    assert written()["model"] == "mine.tflite", "the other is no readable file of weights"
    Path("saved").mkdir()
    Path("saved/saved_model.pb").write_bytes(b"graph")
    Path("irv2.toml").unlink()
    run_here("irv2-convert", "init")
    assert written()["model"] == "saved"
    Path("z.keras").symlink_to(small_model)
    Path("irv2.toml").unlink()
    run_here("irv2-convert", "init")
    assert written()["model"] == "z.keras"


def test_in_an_empty_folder_every_key_is_there_as_a_comment(folder: Path) -> None:
    finished = run_here("irv2-convert", "init")
    assert finished.code == 0
    assert "not found: model, labels, calibration, validation; fill them in" in finished.out
    text = Path("irv2.toml").read_text()
    for key in ("model", "labels", "preprocessing", "fit", "calibration", "validation", "artifact", "reference"):
        assert key not in written()
        assert re.search(rf"^# {key} = ", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 120


def test_the_commands_take_the_file_with_and_without_its_comments(folder: Path) -> None:
    run_here("irv2-convert", "init")
    assert run_here("irv2-convert", "--dry-run", "--model", "demo").code == 0
    text = Path("irv2.toml").read_text()
    Path("irv2.toml").write_text(re.sub(r"^# ([a-z-]+ = )", r"\1", text, flags=re.MULTILINE))
    assert "irv2.toml: labels labels.txt does not exist" in run_here("irv2-convert", "--dry-run").err
    assert "is not a setting" not in run_here("irv2-drift").err


def test_an_existing_file_is_left_as_it_is(folder: Path) -> None:
    Path("irv2.toml").write_text("max-drop = 1\n")
    finished = run_here("irv2-convert", "init")
    assert finished.code == 1
    assert finished.err == "irv2-convert: error: irv2.toml exists and is left as it is: edit it, or remove it first\n"
    assert Path("irv2.toml").read_text() == "max-drop = 1\n"


def test_a_file_that_found_nothing_is_written_again(folder: Path) -> None:
    run_here("irv2-convert", "init")
    picture("calibration", "1.png")
    finished = run_here("irv2-convert", "init")
    assert finished.code == 0, finished.err
    assert written()["calibration"] == "calibration"
    Path("labels.txt").write_text("cat\ndog\n")
    assert run_here("irv2-convert", "init").code == 1, "it says something now"
    assert "labels" not in written()


def test_names_are_quoted(folder: Path) -> None:
    picture('ca"lib', "calibration", "1.png")
    run_here("irv2-convert", "init")
    assert written()["calibration"] == 'ca"lib/calibration'
