"""The tiny network's answers follow from the average colour: an oracle that needs no interpreter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import Classifier, EngineError, ImageError, Prediction
from edge_runtime.preprocess import Pixels
from edge_runtime.specs import TensorSpec
from tests.edge_runtime.tiny_model import (
    INT8,
    INT8_ANSWER,
    LABELS,
    NORMALIZED,
    OUTPUT_SCALE,
    SPEC,
    UINT8,
    expected_probabilities,
    tiny_artifact,
    tiny_flatbuffer,
)


@pytest.mark.parametrize("colour", LABELS)
def test_the_class_is_the_colour(artifact_path: Path, pictures: Path, colour: str) -> None:
    with Classifier.open(artifact_path) as classifier:
        best = classifier.predict(pictures / f"{colour}.png")[0]
    assert (best.label, best.index) == (colour, LABELS.index(colour))


@pytest.mark.parametrize("end", [None, UINT8, INT8, NORMALIZED], ids=["float32", "uint8", "int8", "int8-normalized"])
def test_probabilities_are_the_oracles_for_every_input(tmp_path: Path, noise: Pixels, end: TensorSpec | None) -> None:
    with Classifier.open(tiny_artifact(end).write(tmp_path / "tiny.tflite")) as classifier:
        probabilities = classifier.probabilities(noise)
    assert (probabilities.shape, probabilities.dtype.name) == ((1, 3), "float32")
    assert probabilities[0] == pytest.approx(expected_probabilities(noise), abs=0.003 if end is NORMALIZED else 1e-6)


def test_an_integer_answer_is_dequantized(tmp_path: Path, noise: Pixels) -> None:
    with Classifier.open(tiny_artifact(UINT8, INT8_ANSWER).write(tmp_path / "tiny.tflite")) as classifier:
        probabilities = classifier.probabilities(noise)[0]
    assert probabilities == pytest.approx(expected_probabilities(noise), abs=OUTPUT_SCALE / 2 + 1e-6)
    assert np.array_equal(probabilities * 256, np.rint(probabilities * 256))


@pytest.mark.parametrize("end", [None, UINT8])
def test_a_bgr_network_gets_blue_first(tmp_path: Path, noise: Pixels, end: TensorSpec | None) -> None:
    path = tiny_artifact(end, spec=replace(SPEC, channel_order="BGR")).write(tmp_path / "tiny.tflite")
    with Classifier.open(path) as classifier:
        assert classifier.probabilities(noise)[0] == pytest.approx(expected_probabilities(noise)[::-1], abs=1e-6)


def test_predictions_are_sorted_and_add_up(artifact_path: Path, noise: Pixels) -> None:
    with Classifier.open(artifact_path) as classifier:
        predictions = classifier.predict(noise)
    order = np.argsort(-expected_probabilities(noise))
    assert [prediction.label for prediction in predictions] == [LABELS[i] for i in order]
    assert sum(prediction.probability for prediction in predictions) == pytest.approx(1)


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (100, 3)])
def test_top_k_is_at_most_the_number_of_classes(artifact_path: Path, noise: Pixels, top_k: int, count: int) -> None:
    with Classifier.open(artifact_path) as classifier:
        assert classifier.predict(noise, top_k) == classifier.predict(noise)[:count]


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_below_one_is_a_mistake(artifact_path: Path, noise: Pixels, top_k: int) -> None:
    with Classifier.open(artifact_path) as classifier, pytest.raises(ValueError, match=f"top_k is {top_k}"):
        classifier.predict(noise, top_k)


def test_ties_go_to_the_lower_index(artifact_path: Path) -> None:
    with Classifier.open(artifact_path) as classifier:
        row = np.array([0.25, 0.5, 0.25], np.float32)
        assert classifier.best(row, 2) == [Prediction(1, "green", 0.5), Prediction(0, "red", 0.25)]


def test_a_list_gives_a_list_for_each(artifact_path: Path, pictures: Path) -> None:
    images = [pictures / f"{colour}.png" for colour in LABELS]
    with Classifier.open(artifact_path) as classifier:
        assert classifier.predict(images) == [classifier.predict(image) for image in images]
        assert classifier.probabilities(images).shape == (3, 3)


def test_no_images_give_no_answers(artifact_path: Path) -> None:
    with Classifier.open(artifact_path) as classifier:
        assert classifier.predict([]) == []
        assert classifier.probabilities([]).shape == (0, 3)


def test_a_bad_image_is_an_image_error(artifact_path: Path, tmp_path: Path) -> None:
    with Classifier.open(artifact_path) as classifier, pytest.raises(ImageError, match="does not exist"):
        classifier.predict(tmp_path / "missing.jpg")


def test_an_answer_that_is_no_number_is_not_ranked(tmp_path: Path, noise: Pixels) -> None:
    damaged = replace(tiny_artifact(), flatbuffer=tiny_flatbuffer(bias=float("nan"))).signed()
    with (
        Classifier.open(damaged.write(tmp_path / "nan.tflite")) as classifier,
        pytest.raises(EngineError, match="answers with NaN or infinity"),
    ):
        classifier.predict(noise)
