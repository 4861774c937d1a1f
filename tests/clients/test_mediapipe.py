"""MediaPipe's ImageClassifier, which brings an interpreter of its own and finds all else in the file.

It stretches pictures to the network's size by rules of its own, so what is held has that size already.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.tflite import artifact_writer
from edge_runtime.specs import TensorSpec
from tests.clients.answers import OTHER_ROUNDING, SAME_ARITHMETIC, Predictions, is_close, ours
from tests.clients.environments import Client
from tests.clients.findings import FOUND, Finding, compared
from tests.edge_runtime.tiny_model import LABELS, PIXEL_SCALE, tiny_artifact

pytestmark = [pytest.mark.slow, pytest.mark.clients]

MEDIAPIPE = Client("mediapipe", "1.2.3")
BOUNDS = {"uint8": OTHER_ROUNDING, "float": SAME_ARITHMETIC}


def classify(artifact: Path, pictures: list[Path], labels: tuple[str, ...]) -> Predictions:
    """MediaPipe's answers; it must name our classes, and no others."""
    answered: list[dict[str, float]] = MEDIAPIPE.answer("mediapipe_classify.py", artifact, *pictures)["answers"]
    assert all(set(row) == set(labels) for row in answered)
    return Predictions(labels, np.array([[row[label] for label in labels] for row in answered]))


@pytest.mark.parametrize("ends", BOUNDS)
def test_it_names_the_same_class_by_our_label(
    ends: str, request: pytest.FixtureRequest, pictures: list[Path], our_answers: Callable[[Path], Predictions]
) -> None:
    artifact: Path = request.getfixturevalue(f"{ends}_artifact")
    expected = our_answers(artifact)
    answers = classify(artifact, pictures, expected.labels)
    FOUND.append(compared(MEDIAPIPE.name, artifact, "answers, with our labels", answers, expected))
    assert is_close(answers, expected, BOUNDS[ends]), FOUND[-1]


def test_pictures_of_other_sizes_are_reported(
    uint8_artifact: Path, pictures: list[Path], tmp_path: Path, our_answers: Callable[[Path], Predictions]
) -> None:
    """It does not filter when it shrinks a picture, and we do."""
    larger = [tmp_path / path.name for path in pictures]
    for picture, path in zip(pictures, larger, strict=True):
        Image.open(picture).resize((500, 375), Image.Resampling.BICUBIC).save(path)
    expected = ours(uint8_artifact, larger)
    answers = classify(uint8_artifact, larger, expected.labels)
    FOUND.append(compared(MEDIAPIPE.name, uint8_artifact, "answers pictures of 500x375", answers, expected))


def refusal(artifact: Path, *pictures: Path) -> str:
    """What MediaPipe says instead of opening a file."""
    answer: dict[str, Any] = MEDIAPIPE.answer("mediapipe_classify.py", artifact, *pictures)
    return str(answer["refused"])


def test_integers_at_both_ends_are_not_for_it(tmp_path: Path) -> None:
    """`--io int8`: it knows images as uint8 and as float32."""
    ends = TensorSpec("image", "int8", PIXEL_SCALE, 0), TensorSpec("probabilities", "int8", 1 / 256, -128)
    tiny, artifact = tiny_artifact(*ends), tmp_path / "tiny.int8.tflite"
    artifact_writer.write(artifact_writer.package(tiny.flatbuffer, LABELS, tiny.card), artifact)
    said = refusal(artifact)
    FOUND.append(Finding(MEDIAPIPE.name, "int8 at both ends", f"refuses: {said}"))
    assert "Type mismatch for input tensor image" in said
    assert "Requested one of these types: uint8/float32, got INT8" in said
