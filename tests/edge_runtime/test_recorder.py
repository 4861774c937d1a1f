"""`irv2-predict --record`: whole files, exact to the last bit, or none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import Classifier
from tests.edge_runtime.commands import predict
from tests.edge_runtime.tiny_model import LABELS, tiny_artifact


def test_all_probabilities_are_kept_exactly(artifact_path: Path, pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    done = predict(artifact_path, pictures, "--record", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("blue"), "it prints what it prints without"
    found = json.loads(path.read_text("utf-8"))
    assert (found["format"], found["version"], tuple(found["labels"])) == ("irv2-edge recording", 1, LABELS)
    assert found["model_sha256"] == tiny_artifact().card.sha256["flatbuffer"]
    assert found["receipt"]["device"] == "cpu"
    images = [pictures / f"{name}.png" for name in ("blue", "green", "red")]
    assert [answer["image"] for answer in found["answers"]] == [str(image) for image in images]
    for answer, image in zip(found["answers"], images, strict=True):
        assert answer["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    with Classifier.open(artifact_path) as classifier:
        rows = np.array([answer["probabilities"] for answer in found["answers"]], np.float32)
        assert np.array_equal(rows, classifier.probabilities(images))


def test_pictures_that_cannot_be_read_are_not_recorded(artifact_path: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "bad.png").write_text("no picture")
    done = predict(artifact_path, pictures, "--record", tmp_path / "device.json")
    assert done.returncode == 1
    assert len(json.loads((tmp_path / "device.json").read_text())["answers"]) == 3


def test_standard_input_has_no_name(artifact_path: Path, pictures: Path, tmp_path: Path) -> None:
    done = predict(artifact_path, "-", "--record", tmp_path / "x.json", stdin=(pictures / "red.png").read_bytes())
    assert done.returncode == 1
    assert "- cannot be recorded" in done.stderr


@pytest.mark.parametrize("name", ["no/such/folder/x.json", "."])
def test_a_file_that_cannot_be_written_is_one_line(
    artifact_path: Path, pictures: Path, tmp_path: Path, name: str
) -> None:
    done = predict(artifact_path, pictures / "red.png", "--record", tmp_path / name)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "error: " in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "tiny.none.tflite"}
