"""A float network at chance on labelled images is said, whether folders or a file label them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from convert.drift.label_notes import guess_warnings
from convert.drift.predictions import Predictions
from convert.images.dataset import ImageSet
from convert.images.image_labels import ImageLabels

LABELS = tuple(f"label {i}" for i in range(10))
CLASSES = np.arange(200) % 10
PATHS = tuple(Path(f"x/{i}.png") for i in range(200))
IN_FOLDERS = ImageSet(Path("x"), PATHS, tuple(LABELS[c] for c in CLASSES))
ROWS = tuple((path.name, LABELS[c]) for path, c in zip(PATHS, CLASSES, strict=True))
BY_FILE = ImageSet(Path("x"), PATHS, None, image_labels=ImageLabels(Path("labels.csv"), ("image", "label"), ROWS))


def predictions(right: int) -> Predictions:
    """A network that answers so many images rightly, and the others by another class each."""
    answers = np.where(np.arange(200) < right, CLASSES, (CLASSES + 1 + np.arange(200) // 10 % 9) % 10)
    return Predictions(PATHS, np.eye(10, dtype=np.float32)[answers] * 0.8 + 0.02, LABELS)


def test_a_network_at_chance_is_said_however_images_are_labelled() -> None:
    for images, labels in ((IN_FOLDERS, "10 folders and 10 labels"), (BY_FILE, "10 labels")):
        (note,) = guess_warnings(predictions(21), images)
        assert f"right on 10% of 200 labelled images, which is chance for {labels}: check --preprocessing" in note


def test_a_network_that_knows_something_is_left_alone() -> None:
    for images in (IN_FOLDERS, BY_FILE):
        assert not list(guess_warnings(predictions(60), images))
    assert not list(guess_warnings(predictions(21), replace(IN_FOLDERS, folders=None)))


def test_folders_may_be_written_in_another_way_than_labels() -> None:
    alike = replace(IN_FOLDERS, folders=tuple(f"Label_{c}" for c in CLASSES))
    assert list(guess_warnings(predictions(21), alike))
