"""`irv2-convert attach`: the card and the labels of an artifact, for what a vendor's compiler made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convert.tflite.compiled_model import COMPILED
from edge_runtime import Classifier
from edge_runtime.artifact import open_artifact
from tests.conftest import Finished, run_command
from tests.edge_runtime.compiled_models import EDGE_TPU, compiled
from tests.edge_runtime.plugins import COMPILER, SOURCE, compile_library
from tests.edge_runtime.refusals import EXPECTED
from tests.edge_runtime.tiny_model import LABELS, SIZE, UINT8, expected_probabilities, tiny_artifact, tiny_flatbuffer


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return tiny_artifact().write(tmp_path / "tiny.none.tflite")


def attached(artifact: Path, content: bytes, *more: object) -> Finished:
    path = artifact.with_name("compiled.tflite")
    path.write_bytes(content)
    return run_command("irv2-convert", "attach", artifact, path, *more)


def test_the_compiled_bytes_get_card_and_labels(artifact: Path) -> None:
    content = compiled(tiny_flatbuffer())
    finished = attached(artifact, content)
    assert finished.code == 0, finished.err
    made = artifact.with_name("tiny.none.compiled.tflite")
    assert finished.out.strip() == str(made)
    opened, before = open_artifact(made), open_artifact(artifact)
    assert made.read_bytes().startswith(content)
    assert opened.labels == LABELS
    assert opened.card.preprocessing == before.card.preprocessing
    assert opened.card.probe is not None
    assert before.card.probe is None
    assert opened.card.probe.probabilities == pytest.approx(EXPECTED, abs=1e-6)
    assert opened.card.source[COMPILED] == {
        "operators": [EDGE_TPU],
        "flatbuffer_sha256": before.card.sha256["flatbuffer"],
    }


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler called cc")
def test_it_runs_where_its_hardware_is(artifact: Path, tmp_path: Path) -> None:
    output, red = tmp_path / "elsewhere.tflite", np.full((SIZE, SIZE, 3), (220, 30, 40), np.uint8)
    assert attached(artifact, compiled(tiny_flatbuffer()), "--output", output).code == 0
    with Classifier.open(output, delegate=compile_library(SOURCE, tmp_path)) as classifier:
        assert classifier.receipt.unverified is None
        assert classifier.receipt.probe_difference == pytest.approx(0, abs=1e-6)
        assert classifier.probabilities(red)[0] == pytest.approx(expected_probabilities(red), abs=1e-6)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiny_flatbuffer(), "has no custom operator: nothing in it is compiled"),
        (compiled(tiny_flatbuffer(size=SIZE + 1)), f"(1, {SIZE + 1}, {SIZE + 1}, 3)"),
        (compiled(tiny_flatbuffer(UINT8)), "'uint8', (0.00784"),
        (b"not a model at all", "is not a TFLite model"),
        (compiled(tiny_flatbuffer())[:200], "compiled.tflite is damaged"),
    ],
    ids=["not compiled", "another size", "another data type", "no model", "cut off"],
)
def test_what_was_not_made_of_it_is_refused_in_one_line(artifact: Path, content: bytes, reason: str) -> None:
    finished = attached(artifact, content)
    assert finished.code == 1
    assert reason in finished.err
    assert finished.err.count("\n") == 1
    assert not artifact.with_name("tiny.none.compiled.tflite").exists()


def test_what_has_no_card_cannot_give_one(artifact: Path) -> None:
    artifact.write_bytes(tiny_flatbuffer())
    finished = attached(artifact, compiled(tiny_flatbuffer()))
    assert finished.code == 1
    assert "carries no card" in finished.err


def test_checksums_can_be_verified_but_it_cannot_be_built_again(artifact: Path, tmp_path: Path) -> None:
    output, labels = tmp_path / "elsewhere.tflite", tmp_path / "labels.txt"
    labels.write_text("red\ngreen\nblue\n")
    assert attached(artifact, compiled(tiny_flatbuffer()), "--output", output).code == 0
    assert run_command("irv2-convert", "verify", output).code == 0
    refused = run_command("irv2-convert", "verify", output, "--labels", labels)
    assert refused.code == 1
    assert "verify what it was compiled from" in refused.err
