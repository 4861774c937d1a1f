"""`irv2-drift --csv`: what both answered to each image, beside what each answers alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.conftest import run_command
from tests.convert.drift.commands import copied, gate


@pytest.fixture
def few(images: Path, tmp_path: Path) -> Path:
    """Eight pictures of each colour."""
    folder = copied(images, tmp_path / "images")
    for path in folder.glob("*/*.png"):
        if int(path.stem) >= 8:
            path.unlink()
    return folder


def test_rows_are_what_each_answers_alone(network: Path, worse: Path, few: Path, tmp_path: Path) -> None:
    table = tmp_path / "answers.csv"
    done = gate(worse, "--reference", network, "--images", few, "--no-stop-early", "--csv", table)
    assert done.exit_code == 3, done.output
    with table.open(newline="", encoding="utf-8") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(map(str, few.glob("*/*.png")))
    for side, model in (("reference", network), ("candidate", worse)):
        for line in run_command("irv2-predict", model, few, "--json").out.splitlines():
            answer = json.loads(line)
            row, best = rows[answer["image"]], answer["predictions"][0]
            assert row[side] == best["label"]
            assert float(row[f"{side}_probability"]) == pytest.approx(best["probability"], abs=1e-6)
            assert row["label"] == Path(answer["image"]).parent.name
            assert row["same"] == str(int(row["reference"] == row["candidate"]))


def test_images_without_labels_have_an_empty_one(network: Path, few: Path, tmp_path: Path) -> None:
    table = tmp_path / "answers.csv"
    gate(network, "--reference", network, "--images", few / "red", "--csv", table)
    with table.open(newline="", encoding="utf-8") as file:
        assert {(row["label"], row["same"]) for row in csv.DictReader(file)} == {("", "1")}


def test_a_shard_has_none(network: Path, few: Path, tmp_path: Path) -> None:
    done = gate(network, "--reference", network, "--images", few, "--shard", "1/2", "--csv", tmp_path / "a.csv")
    assert done.exit_code == 2
    assert "--shard does not go with --csv" in done.output
