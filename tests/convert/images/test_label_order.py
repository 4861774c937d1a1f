"""Label orders of training tools against what those tools do, and what is said where guessing explains the answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from keras.utils import image_dataset_from_directory

from convert.images.dataset import find_images
from convert.images.label_order import Labelled, folder_notes, is_far_better, orders
from tests.convert.images.pictures import save_picture

NUMBERS = tuple(map(str, range(12)))


def in_training_order(names: tuple[str, ...], labels: tuple[str, ...], classes: list[int]) -> np.ndarray:
    """The answers of a perfect network whose classes are `names`, for images of these classes of `labels`."""
    return np.array([names.index(labels[c]) for c in classes])


def test_folders_of_numbers_in_the_order_of_keras(tmp_path: Path) -> None:
    for name in NUMBERS:
        save_picture(tmp_path / name / "1.png")
    theirs = tuple(image_dataset_from_directory(tmp_path, verbose=False).class_names)
    classes = list(range(12)) * 3
    labelled = Labelled(tuple(classes), NUMBERS, NUMBERS)
    answers = in_training_order(theirs, NUMBERS, classes)
    assert labelled.accuracy(answers) < 0.3
    found = labelled.best_order(answers)
    assert found is not None
    accuracy, order = found
    assert (accuracy, order.labels) == (1.0, theirs)
    assert (
        "--labels FILE in this order, the folders sorted as text: 0, 1, 10, 11, 2, 3, ... (12 in all)" in order.option
    )


@pytest.mark.parametrize(
    ("labels", "folders", "trained"),
    [
        (("cat", "dog", "ant"), ("cat", "dog", "ant"), ("ant", "cat", "dog")),
        (("b", "A", "c"), ("b", "A", "c"), ("A", "b", "c")),
        (("Zebra", "ant"), ("Zebra", "ant"), ("ant", "Zebra")),
        (("T-shirt/top", "Sandal"), ("T-shirt_top", "sandal"), ("Sandal", "T-shirt/top")),
        (("dog", "cat"), ("dog", "cat"), ("cat", "dog")),
        (("cat", "dog"), ("dog", "cat"), ("dog", "cat")),
        (("1", "10", "2"), ("1", "10", "2"), ("1", "2", "10")),
        (("a", "c", "b"), ("a", "b"), ("a", "b", "c")),
    ],
)
def test_usual_orders_are_found(labels: tuple[str, ...], folders: tuple[str, ...], trained: tuple[str, ...]) -> None:
    classes = [0, 1] * 20
    labelled = Labelled(tuple(classes), folders, labels)
    found = labelled.best_order(in_training_order(trained, labels, classes))
    assert found is not None
    assert found[0] == 1.0


def test_the_order_that_labels_have_is_no_other() -> None:
    assert not list(orders(("a", "b", "c"), ("a", "b", "c")))


@pytest.mark.parametrize(
    ("accuracy", "images", "classes", "chance"),
    [(0.1, 40, 10, True), (0.2, 40, 10, False), (0.5, 40, 2, True), (0.75, 40, 2, False), (0.0, 19, 10, False)],
)
def test_chance_is_what_guessing_explains(accuracy: float, images: int, classes: int, chance: bool) -> None:
    names = tuple(map(str, range(classes)))
    labelled = Labelled(tuple(i % classes for i in range(images)), names, names)
    assert labelled.is_chance(accuracy) == chance


def test_images_of_one_class_tell_nothing() -> None:
    assert not Labelled((3,) * 100, ("3",), NUMBERS).is_chance(0.0)


def test_half_the_errors_or_twice_the_answers_are_far_better() -> None:
    assert is_far_better(1.0, 0.16)
    assert is_far_better(0.75, 0.5)
    assert not is_far_better(0.7, 0.5)
    assert not is_far_better(0.2, 0.0)


def test_what_is_said_of_folders_before_a_network_is_run(tmp_path: Path) -> None:
    for name in ("0", "10"):
        save_picture(tmp_path / name / "1.png")
    images = find_images(tmp_path)
    (missing,) = folder_notes(images, NUMBERS, given=True)
    assert "no folder for 10 of 12 labels: 1, 2, 3, 4, 5, 6, ... (10 in all)" in missing
    _, sorting = folder_notes(images, NUMBERS, given=False)
    assert "sort folders as text (0, 1, 10, 11, 2): if yours did, pass --labels FILE" in sorting
    assert not list(folder_notes(images, ("0", "10"), given=False))
