"""Which classes are named: by probability, by name, and not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime import Classifier, Prediction
from edge_runtime.preprocess import Pixels


def labels_of(predictions: list[Prediction]) -> list[str]:
    return [prediction.label for prediction in predictions]


ROW = np.array([0.2, 0.5, 0.3], np.float32)


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({"threshold": 0.0}, ["green", "blue", "red"]),
        ({"threshold": 0.25}, ["green", "blue"]),
        ({"threshold": 0.5}, ["green"]),
        ({"threshold": 0.51}, []),
        ({"allow": ["red", "blue"]}, ["blue", "red"]),
        ({"allow": {"red", "blue"}, "top_k": 1}, ["blue"]),
        ({"allow": []}, []),
        ({"deny": ["green"]}, ["blue", "red"]),
        ({"deny": ["green"], "top_k": 1, "threshold": 0.25}, ["blue"]),
        ({"allow": ["green", "red"], "deny": ("green",)}, ["red"]),
    ],
)
def test_classes_are_chosen_by_probability_and_name(
    artifact_path: Path, options: dict[str, Any], labels: list[str]
) -> None:
    with Classifier.open(artifact_path) as classifier:
        assert labels_of(classifier.best(ROW, **options)) == labels


def test_predict_chooses_as_best_does(artifact_path: Path, noise: Pixels) -> None:
    options: dict[str, Any] = {"top_k": 2, "threshold": 0.3, "deny": ["blue"]}
    with Classifier.open(artifact_path) as classifier:
        expected = classifier.best(classifier.run(noise), **options)
        assert labels_of(expected) == ["red"]
        assert classifier.predict(noise, **options) == expected
        assert classifier.predict([noise, noise], **options) == [expected, expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, r"threshold is 1\.5: pass a probability in 0\.\.1"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"allow": ["red", "violet"]}, "allow has 'violet': pass a list of the model's own labels"),
        ({"deny": ["Red"]}, "deny has 'Red'"),
        ({"deny": "red"}, "deny has 'red': pass a list"),
    ],
)
def test_choices_that_mean_nothing_are_mistakes(
    artifact_path: Path, noise: Pixels, options: dict[str, Any], message: str
) -> None:
    with Classifier.open(artifact_path) as classifier:
        for choose in (classifier.best, classifier.predict, classifier.stream):
            with pytest.raises(ValueError, match=message):
                choose(noise, **options)
