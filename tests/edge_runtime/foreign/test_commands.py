"""irv2-predict and irv2-benchmark with models without a card: what they take, and what they ask for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.edge_runtime.commands import predict, run
from tests.edge_runtime.foreign_models import (
    OPEN,
    ForeignModel,
)
from tests.edge_runtime.tiny_model import SIZE, expected_probabilities

COLOUR = [220, 30, 40]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), tuple(COLOUR)).save(path)
    return path


def test_the_command_takes_what_the_file_does_not_say(
    save: Callable[[ForeignModel], Path], picture: Path, tmp_path: Path
) -> None:
    path, names = save(replace(OPEN, end="logits")), tmp_path / "labels.json"
    names.write_text(json.dumps({"r": 0, "g": 1, "b": 2}))
    done = predict(path, picture, "--preprocessing", "tf", "--labels", names, "--input-size", SIZE, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = expected_probabilities(np.full((SIZE, SIZE, 3), COLOUR, np.uint8))
    assert [each["label"] for each in found["predictions"]] == ["r", "b", "g"]
    assert found["predictions"][0]["probability"] == pytest.approx(expected[0], abs=1e-6)
    assert found["receipt"]["remarks"] == ["the model answers logits: a softmax makes them probabilities"]
    assert "note: the model answers logits" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "carries no card"),
        (["--preprocessing", "imagenet"], "is neither tf, caffe, torch, unit, none nor a JSON file that exists"),
        (["--preprocessing", "tf"], "takes images of any size: pass --input-size"),
        (["--input-size", "8"], "does not say how its images are prepared: pass --preprocessing tf|caffe"),
        (["--input-size", "8", "--preprocessing", "tf", "--labels", "nowhere.txt"], "--labels nowhere.txt cannot be"),
    ],
)
def test_the_command_asks_for_what_is_missing(
    arguments: list[str], said: str, save: Callable[[ForeignModel], Path], picture: Path
) -> None:
    done = predict(save(OPEN), picture, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_options_of_foreign_models_do_not_go_with_a_card(artifact_path: Path, picture: Path) -> None:
    done = predict(artifact_path, picture, "--preprocessing", "tf")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--preprocessing is for models without a card" in done.stderr


def test_the_benchmark_takes_the_same_options(save: Callable[[ForeignModel], Path]) -> None:
    done = run(
        "edge_runtime.benchmark", save(OPEN), "--preprocessing", "unit", "--input-size", "8x8", "--runs", 1, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["inference"][0]["p50_ms"] > 0
