"""Wrong preprocessing is found on labelled images, and only there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from convert.errors import SourceError
from convert.images.conventions import fitted, input_spec
from convert.images.dataset import ImageSet, find_images
from convert.images.preprocessing_check import other_reading, refuse_wrong_preprocessing
from convert.images.trial_runs import Scores
from edge_runtime import InputSpec
from tests.conftest import COLOURS, SIZE
from tests.convert.images.colour_network import TF, colour_network

LABELS = tuple(COLOURS)
GREYS = {"bright": (220, 220, 220), "dark": (30, 30, 30), "medium": (120, 120, 120)}


def answering(answer: Callable[[InputSpec, int], Any], asked: dict[InputSpec, int] | None = None) -> Scores:
    """A network that answers for the i-th image what `answer(spec, i)` says; `asked` counts for how many it did."""
    counts = defaultdict(int) if asked is None else asked

    def scores(spec: InputSpec, pixels: Sequence[Any]) -> Any:
        counts[spec] += len(pixels)
        return np.array([answer(spec, i) for i in range(counts[spec] - len(pixels), counts[spec])])

    return scores


@pytest.fixture(scope="module")
def network() -> bytes:
    return colour_network()


@pytest.fixture(scope="module")
def pictures(validation_folder: Path) -> ImageSet:
    return find_images(validation_folder).shuffled()[:60]


def test_the_right_preprocessing_passes(network: bytes, pictures: ImageSet) -> None:
    refuse_wrong_preprocessing(network, TF, LABELS, pictures)


def test_the_wrong_convention_is_refused_and_the_better_one_named(network: bytes, pictures: ImageSet) -> None:
    """Channels less their means, and turned: blue and red are taken for each other."""
    with pytest.raises(
        SourceError, match=r"right on \d+% of 40 labelled images .* and on 100% with --preprocessing tf"
    ):
        refuse_wrong_preprocessing(network, input_spec("caffe", SIZE, SIZE), LABELS, pictures)


@pytest.mark.parametrize(("wrong", "expected", "others"), [(0, 20, 0), (2, 20, 3), (3, 40, 3)])
def test_no_more_images_are_looked_at_where_nearly_all_of_the_first_are_right(
    wrong: int, expected: int, others: int, pictures: ImageSet
) -> None:
    """All are right but the last few of the first 20: 18 are enough, and if 20 are, nothing else is tried."""
    truth = pictures.truth(LABELS)
    assert truth is not None
    asked: dict[InputSpec, int] = defaultdict(int)

    def answer(spec: InputSpec, i: int) -> Any:
        right = np.eye(len(LABELS))[(truth[i] + (20 - wrong <= i < 20)) % len(LABELS)]
        return right if spec == TF else 1 - right

    assert other_reading(answering(answer, asked), TF, LABELS, pictures) is None
    assert asked.pop(TF) == expected
    assert set(asked.values()) == ({others} if others else set())


def test_a_small_loss_is_found_by_how_sure_the_network_is(pictures: ImageSet) -> None:
    """7 of 8 are right as given, with a probability of 0.6; all with pixels from 0 to 1, with one of 0.9."""
    truth = pictures.truth(LABELS)
    assert truth is not None
    unit = input_spec("unit", SIZE, SIZE)

    def answer(spec: InputSpec, i: int) -> Any:
        right = np.eye(len(LABELS))[(truth[i] + (spec != unit and i % 8 == 7)) % len(LABELS)]
        return 0.85 * right + 0.05 if spec == unit else 0.4 * right + 0.2

    found = other_reading(answering(answer), TF, LABELS, pictures)
    assert found is not None
    assert not found.is_far_better
    assert found.words("it") == (
        "it is right on 90% of 20 labelled images as they are prepared and named now, and on 100% with --preprocessing "
        "unit (and surer: it gives their classes a probability of 0.90 in place of 0.54): check --preprocessing"
    )


def test_images_of_one_class_tell_nothing(network: bytes, pictures: ImageSet) -> None:
    """Whatever makes a network answer the same for every picture is right about all of them."""
    red = [path for path, folder in zip(pictures.paths, pictures.folders or (), strict=True) if folder == "red"]
    alone = replace(pictures, paths=tuple(red), folders=("red",) * len(red))
    assert refuse_wrong_preprocessing(network, input_spec("caffe", SIZE, SIZE), LABELS, alone) is None


def test_a_few_images_are_no_proof(network: bytes, pictures: ImageSet) -> None:
    """All six would be right: that is said, and no more."""
    few = replace(pictures, paths=pictures.paths[:6], folders=(pictures.folders or ())[:6])
    turned = replace(TF, channel_order="BGR")
    assert len(set(few.folders or ())) > 1
    assert refuse_wrong_preprocessing(network, turned, LABELS, few) is None


def test_swapped_channels_are_refused(network: bytes, pictures: ImageSet) -> None:
    """Blue and red are taken for each other, green stays: a third is right."""
    with pytest.raises(SourceError, match="check --preprocessing"):
        refuse_wrong_preprocessing(network, replace(TF, channel_order="BGR"), LABELS, pictures)


def grey_pictures(folder: Path) -> ImageSet:
    for name, grey in GREYS.items():
        (folder / name).mkdir()
        for i in range(8):
            Image.new("RGB", (SIZE, SIZE), (grey[0] + i,) * 3).save(folder / name / f"{i}.png")
    return find_images(folder)


def test_pixels_of_0_to_1_are_tried(tmp_path: Path) -> None:
    """Trained on pixels / 255, as `Rescaling(1 / 255)` makes them, and converted as if they went up to 255."""
    unit = input_spec("unit", SIZE, SIZE)
    pictures = grey_pictures(tmp_path)
    with pytest.raises(SourceError, match="on 100% with --preprocessing unit: check --preprocessing"):
        refuse_wrong_preprocessing(colour_network(unit, GREYS), input_spec("none", SIZE, SIZE), tuple(GREYS), pictures)
    assert refuse_wrong_preprocessing(colour_network(unit, GREYS), unit, tuple(GREYS), pictures) is None


def test_a_network_that_scales_pixels_itself_is_not_told_to_be_fed_otherwise(tmp_path: Path) -> None:
    """Its front, Rescaling(1 / 8), would contradict the option."""
    network, pictures = colour_network(input_spec("unit", SIZE, SIZE), GREYS), grey_pictures(tmp_path)
    eighth = replace(TF, mean=(0.0,) * 3, std=(8.0,) * 3)
    with pytest.raises(SourceError, match="on 100% with --preprocessing unit"):
        refuse_wrong_preprocessing(network, eighth, tuple(GREYS), pictures)
    pixels = input_spec("none", SIZE, SIZE)
    said = refuse_wrong_preprocessing(network, eighth, tuple(GREYS), pictures, said=pixels)
    assert said is not None
    assert said.startswith("the float network is right on 33% of 24 labelled images, which is chance")


@pytest.mark.parametrize("labels", [("green", "red", "blue"), ("red", "blue", "green")])
def test_labels_in_another_order_than_the_folders_are_refused(
    labels: tuple[str, ...], network: bytes, pictures: ImageSet
) -> None:
    with pytest.raises(
        SourceError,
        match=r"on 100% with --labels FILE in this order, the folders sorted as text: blue, green, red: check --labels",
    ):
        refuse_wrong_preprocessing(network, TF, labels, pictures)


def test_both_may_be_wrong(network: bytes, pictures: ImageSet) -> None:
    with pytest.raises(
        SourceError, match=r"--preprocessing tf and --labels FILE .*: check --preprocessing and --labels"
    ):
        refuse_wrong_preprocessing(network, input_spec("caffe", SIZE, SIZE), ("green", "red", "blue"), pictures)


def test_what_is_not_needed_is_not_advised(pictures: ImageSet) -> None:
    """The labels are in a wrong order; with pixels from 0 to 1 the network would be right once more, by luck."""
    unit = input_spec("unit", SIZE, SIZE)
    labels = ("green", "red", "blue")
    truth = pictures.truth(LABELS)
    assert truth is not None
    wrong = {TF: 6, unit: 5}

    def answer(spec: InputSpec, i: int) -> Any:
        return np.eye(len(LABELS))[(truth[i] + (i < wrong.get(spec, 40))) % len(LABELS)]

    found = other_reading(answering(answer), TF, labels, pictures)
    assert found is not None
    assert found.is_far_better
    assert found.is_order_alone
    assert found.accuracy == 34 / 40


def test_folders_are_compared_as_everywhere(network: bytes, pictures: ImageSet) -> None:
    with pytest.raises(SourceError, match="--preprocessing tf"):
        refuse_wrong_preprocessing(network, input_spec("caffe", SIZE, SIZE), ("Blue", "GREEN", "red!"), pictures)


def test_a_network_that_guesses_is_said_if_nothing_helps(pictures: ImageSet) -> None:
    image = keras.Input((SIZE, SIZE, 3), batch_size=1)
    mean = layers.GlobalAveragePooling2D()(image)
    blind = keras.Model(image, layers.Dense(3, "softmax", kernel_initializer="zeros")(mean))
    model = bytes(tf.lite.TFLiteConverter.from_keras_model(blind).convert())
    note = refuse_wrong_preprocessing(model, TF, LABELS, pictures)
    assert note is not None
    assert "of 40 labelled images, which is chance for 3 folders and 3 labels: check --preprocessing" in note


def test_without_labels_there_is_nothing_to_compare(network: bytes, pictures: ImageSet) -> None:
    wrong = input_spec("caffe", SIZE, SIZE)
    refuse_wrong_preprocessing(network, wrong, LABELS, replace(pictures, folders=None))
    refuse_wrong_preprocessing(network, wrong, ("a", "b", "c"), pictures)
    refuse_wrong_preprocessing(network, wrong, LABELS, None)


def wide_pictures(folder: Path, honest: int, cut: Sequence[int], hopeless: int = 0) -> ImageSet:
    """Pictures of each colour: some of it alone, some with another's on both sides of it, some of another alone."""
    names = list(COLOURS)
    for index, (name, count) in enumerate(zip(names, cut, strict=True)):
        (folder / name).mkdir()
        for i in range(honest + count + hopeless):
            picture = Image.new("RGB", (8 * SIZE, SIZE), COLOURS[name if i < honest else names[index - 1]])
            if i < honest + count:
                picture.paste(COLOURS[name], (3 * SIZE, 0, 5 * SIZE, SIZE))
            picture.save(folder / name / f"{i}.png")
    return find_images(folder).shuffled()


def test_the_wrong_geometry_is_refused(network: bytes, tmp_path: Path) -> None:
    """Trained on central squares and converted as if pictures were stretched."""
    pictures = wide_pictures(tmp_path, honest=0, cut=(8, 8, 8))
    with pytest.raises(SourceError, match=r"right on 0% of 24 .* on 100% with --fit crop: check --fit"):
        refuse_wrong_preprocessing(network, TF, LABELS, pictures)
    assert refuse_wrong_preprocessing(network, fitted(TF, "crop"), LABELS, pictures) is None


def test_a_geometry_that_is_better_for_sure_is_said(network: bytes, tmp_path: Path) -> None:
    """Ten gained and none lost are no luck, even of the best of a dozen trials; half of the errors stay."""
    pictures = wide_pictures(tmp_path, honest=6, cut=(4, 3, 3), hopeless=4)
    note = refuse_wrong_preprocessing(network, TF, LABELS, pictures)
    assert note is not None
    assert "right on 45% of 40 labelled images" in note
    assert "on 70% with --fit crop: check --fit" in note


def test_a_small_difference_is_luck(network: bytes, tmp_path: Path) -> None:
    pictures = wide_pictures(tmp_path, honest=5, cut=(1, 1, 1), hopeless=2)
    assert refuse_wrong_preprocessing(network, TF, LABELS, pictures) is None
