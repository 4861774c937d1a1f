"""Labels that are independent of each other: the card, the answers, the command, the probe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from edge_runtime import ArtifactError, Card, Classifier, InputSpec
from edge_runtime.probe import TOLERANCES, Probe
from edge_runtime.specs import INDEPENDENT, SOFTMAX
from edge_runtime.tensors import centred, log_probabilities, logits
from tests.edge_runtime.commands import predict
from tests.edge_runtime.tiny_model import INT8_ANSWER, LABELS, SPEC, UINT8, tiny_artifact, tiny_flatbuffer

PINK, BLACK = (240, 20, 230), (0, 0, 0)
"""Red and blue, and no colour at all."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_artifact(head=INDEPENDENT).write(tmp_path / "tiny.none.tflite")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in (("black", BLACK), ("pink", PINK)):
        Image.new("RGB", (20, 20), colour).save(folder / f"{name}.png")
    return folder


def sigmoid(colour: tuple[int, int, int]) -> Any:
    return 1 / (1 + np.exp(-(np.array(colour) - 127.5) / 127.5))


# The card


def test_a_card_of_independent_labels_survives_its_bytes() -> None:
    card = tiny_artifact(head=INDEPENDENT).card
    written = json.loads(card.to_bytes())
    assert (written["head"], written["card_version"]) == ("independent", 3)
    assert Card.from_bytes(card.to_bytes()) == card


@pytest.mark.parametrize("decode", ["full", "scaled"])
def test_a_card_of_a_softmax_is_what_it_always_was(decode: str) -> None:
    card = tiny_artifact(spec=InputSpec(8, 8, (0, 0, 0), (1, 1, 1), decode=decode)).card
    written = json.loads(card.to_bytes())
    assert "head" not in written
    assert written["card_version"] == {"full": 1, "scaled": 2}[decode]
    assert Card.from_bytes(card.to_bytes()).head == SOFTMAX


def test_an_unknown_head_is_refused() -> None:
    card = replace(tiny_artifact().card, head="three")
    with pytest.raises(ArtifactError, match="head 'three'"):
        Card.from_bytes(card.signed().to_bytes())


def test_a_head_added_to_a_card_breaks_its_version() -> None:
    value = {**json.loads(tiny_artifact().card.to_bytes()), "head": INDEPENDENT}
    with pytest.raises(ArtifactError, match="version 1 for a card of version 3"):
        Card.from_bytes(json.dumps(value).encode())


# Answers


@pytest.mark.parametrize("ends", [(None, None), (UINT8, INT8_ANSWER)], ids=["float", "integers"])
def test_every_label_is_answered_for_itself(ends: Any, tmp_path: Path, photos: Path) -> None:
    artifact = tiny_artifact(*ends, head=INDEPENDENT).write(tmp_path / "tiny.tflite")
    with Classifier.open(artifact) as classifier:
        assert classifier.head == INDEPENDENT
        np.testing.assert_allclose(classifier.probabilities(photos / "pink.png")[0], sigmoid(PINK), atol=1 / 256)


def test_all_labels_from_one_half_on_are_returned(path: Path, photos: Path) -> None:
    with Classifier.open(path) as classifier:
        pink, black = classifier.predict([photos / "pink.png", photos / "black.png"])
        assert [each.label for each in pink] == ["red", "blue"]
        assert black == []


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({}, ["green", "blue"]),
        ({"threshold": 0.0}, ["green", "blue", "red"]),
        ({"threshold": 0.6}, ["green"]),
        ({"top_k": 1}, ["green"]),
        ({"top_k": 3, "threshold": 0.1}, ["green", "blue", "red"]),
        ({"deny": ["green"]}, ["blue"]),
        ({"threshold": 1.0}, []),
    ],
)
def test_explicit_arguments_win(path: Path, options: dict[str, Any], labels: list[str]) -> None:
    row = np.array([0.2, 0.9, 0.5], np.float32)
    with Classifier.open(path) as classifier:
        assert [each.label for each in classifier.best(row, **options)] == labels


def test_more_than_five_labels_may_be_there() -> None:
    from edge_runtime.classifier import TopK

    labels = [f"{i}" for i in range(9)]
    assert len(TopK(labels, None, None, None, None, INDEPENDENT).best(np.full(9, 0.5, np.float32))) == 9
    assert len(TopK(labels, None, None, None, None).best(np.full(9, 0.1, np.float32))) == 5


def test_the_head_of_a_foreign_model_is_told_by_its_graph(tmp_path: Path, photos: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tiny_flatbuffer(head=INDEPENDENT))
    with Classifier.open(path, spec=SPEC, labels=LABELS) as classifier:
        assert [each.label for each in classifier.predict(photos / "pink.png")] == ["red", "blue"]


# The command


def test_one_picture_is_a_label_a_line(path: Path, photos: Path) -> None:
    lines = predict(path, photos / "pink.png").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["red", "70.7%"], ["blue", "69.1%"]]
    assert len(lines) == 4
    lines = predict(path, photos / "black.png").stdout.splitlines()
    assert lines[1] == "  no label reaches 50%; nearest: red 26.9%"


def test_several_pictures_are_a_line_each(path: Path, photos: Path) -> None:
    lines = predict(path, photos).stdout.splitlines()
    assert lines[:2] == [
        f"no label reaches 50%; nearest: red 26.9%  {photos}/black.png",
        f"red 70.7%, blue 69.1%  {photos}/pink.png",
    ]


def test_the_threshold_is_an_option(path: Path, photos: Path) -> None:
    lines = predict(path, photos, "--threshold", "0.7").stdout.splitlines()
    assert lines[0].startswith("no label reaches 70%; nearest: red 26.9%")
    assert lines[1].startswith("red 70.7%  ")
    refused = predict(path, photos, "--threshold", "50")
    assert refused.returncode == 2
    assert "'50' is not a probability in 0..1" in refused.stderr


def test_json_has_the_head(path: Path, photos: Path) -> None:
    rows = [json.loads(line) for line in predict(path, photos, "--json").stdout.splitlines()]
    assert [(row["head"], len(row["predictions"])) for row in rows] == [("independent", 0), ("independent", 2)]


def test_a_threshold_may_leave_no_class_of_a_softmax(artifact_path: Path, photos: Path) -> None:
    lines = predict(artifact_path, photos, "--threshold", "0.9").stdout.splitlines()
    assert lines[1].startswith("no label reaches 90%; nearest: red ")


# Logits, and the probe


ROWS = hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32))


@given(ROWS)
def test_logits_of_a_softmax_are_centred_logs(rows: Any) -> None:
    assert np.array_equal(logits(rows, SOFTMAX, 1 / 256), centred(log_probabilities(rows, 1 / 256)))


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(-16, 16)))
def test_logits_of_independent_labels_undo_the_sigmoid(values: Any) -> None:
    probabilities = 1 / (1 + np.exp(-values))
    assert np.allclose(logits(probabilities, INDEPENDENT), values, atol=1e-6)


@given(ROWS, st.sampled_from([0.0, 1 / 256]))
def test_both_ends_are_floored_alike(rows: Any, step: float) -> None:
    found = logits(rows, INDEPENDENT, step)
    assert np.isfinite(found).all()
    assert np.allclose(logits(1 - rows.astype(np.float64), INDEPENDENT, step), -found, atol=1e-6)
    most = np.log(2 / step) if step else 25 * np.log(2)
    assert np.abs(found).max() <= most + 1e-6


def test_the_probe_allows_what_cannot_reach_the_threshold() -> None:
    probe = Probe((0.01, 0.02, 0.001))
    assert probe.tolerance("float32") == pytest.approx(TOLERANCES["float32"] * 0.02)
    assert probe.tolerance("float32", INDEPENDENT) == pytest.approx(TOLERANCES["float32"] * 0.5)
    assert Probe((0.9, 0.2)).tolerance("float32", INDEPENDENT) == pytest.approx(TOLERANCES["float32"] * 0.9)


def test_the_probe_sees_a_shift_of_all_labels() -> None:
    """Which a softmax would forget."""
    values = np.array([-3.0, 1.0, 2.0])
    probe = Probe(tuple(1 / (1 + np.exp(-values))))
    shifted = (1 / (1 + np.exp(-(values + 1)))).astype(np.float32)
    assert probe.logit_error(shifted, 0.0, INDEPENDENT) == pytest.approx(3**0.5 / 14**0.5, rel=1e-4)
