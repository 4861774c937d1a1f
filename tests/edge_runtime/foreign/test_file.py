"""Models without a card: what their file says is used, what it does not say is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import ArtifactError, Classifier, InputSpec
from edge_runtime.foreign.reading import read_foreign
from edge_runtime.preprocess import Pixels
from edge_runtime.specs import TensorSpec
from tests.edge_runtime.foreign_models import (
    LABEL_FILE,
    OPEN,
    PIXELS,
    ForeignModel,
    answer,
    metadata,
)
from tests.edge_runtime.tiny_model import LABELS, SIZE, SPEC, expected_probabilities, tiny_artifact

HALF_OPEN = ForeignModel(shape=(1, SIZE, 1, 3), signature=(1, SIZE, -1, 3))


def test_metadata_say_all_that_is_needed(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    model = ForeignModel(metadata=metadata((100.0,), (50.0,)), files=LABEL_FILE)
    with Classifier.open(save(model)) as classifier:
        assert classifier.labels == LABELS
        assert classifier.spec == replace(SPEC, mean=(100, 100, 100), std=(50, 50, 50))
        assert classifier.run(noise) == pytest.approx(expected_probabilities(noise, classifier.spec), abs=1e-6)
        assert (classifier.receipt.remarks, classifier.artifact) == ((), None)


def test_a_normalization_of_each_channel(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    spec = replace(SPEC, mean=(123.0, 116.0, 103.0), std=(58.0, 57.0, 56.0))
    path = save(ForeignModel(metadata=metadata(spec.mean, spec.std), files=LABEL_FILE))
    assert answer(path, noise) == pytest.approx(expected_probabilities(noise, spec), abs=1e-6)


def test_what_is_given_goes_before_what_the_file_says(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(ForeignModel(metadata=metadata(), files=LABEL_FILE))
    other = replace(SPEC, mean=(0.0, 50.0, 100.0))
    with Classifier.open(path, spec=other, labels=("r", "g", "b")) as classifier:
        assert (classifier.spec, classifier.labels) == (other, ("r", "g", "b"))
        assert classifier.run(noise) == pytest.approx(expected_probabilities(noise, other), abs=1e-6)


def test_the_labels_without_a_locale_are_taken_and_told_apart(save: Callable[[ForeignModel], Path]) -> None:
    files = {"labels.txt": b"crane\nb\ncrane\n"}
    with Classifier.open(save(ForeignModel(metadata=metadata(), files=files))) as classifier:
        assert classifier.labels == ("crane", "b", "crane (2)")


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_integers_are_normalized_and_then_quantized(
    dtype: str, save: Callable[[ForeignModel], Path], noise: Pixels
) -> None:
    tensor = TensorSpec("image", dtype, 2 / 255, 128 if dtype == "uint8" else 0)
    path = save(ForeignModel(image=tensor, metadata=metadata(), files=LABEL_FILE))
    assert answer(path, noise) == pytest.approx(expected_probabilities(noise), abs=4e-3)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_integers_with_a_scale_and_no_normalization_are_the_pixels(
    dtype: str, save: Callable[[ForeignModel], Path], noise: Pixels
) -> None:
    """As MediaPipe feeds them, whatever the scale."""
    tensor = TensorSpec("image", dtype, 1 / 64, 100 if dtype == "uint8" else -28)
    path = save(ForeignModel(image=tensor, metadata=metadata(()), files=LABEL_FILE))
    as_read = replace(SPEC, mean=(100, 100, 100), std=(64, 64, 64))
    assert answer(path, noise) == pytest.approx(expected_probabilities(noise, as_read), abs=1e-6)


def test_integers_without_a_scale_are_the_pixels(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(ForeignModel(image=TensorSpec("image", "uint8"), weights=np.eye(3, dtype=np.float32) / 64))
    expected = expected_probabilities(noise, replace(PIXELS, std=(64, 64, 64)))
    for spec in (None, PIXELS):
        assert answer(path, noise, spec) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ArtifactError, match="takes uint8 pixels as they are: pass --preprocessing none"):
        Classifier.open(path, spec=SPEC)


def test_a_placeholder_is_no_size(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(OPEN)
    assert answer(path, noise, SPEC) == pytest.approx(expected_probabilities(noise), abs=1e-6)
    with pytest.raises(ArtifactError, match=r"takes images of any size: pass --input-size"):
        read_foreign(path).spec("tf")
    assert read_foreign(path).spec("tf", (20, 30)).height == 20


@pytest.mark.parametrize("model", [OPEN, replace(OPEN, signature=()), replace(OPEN, shape=(1, 5, 5, 3))])
def test_metadata_may_say_the_size(model: ForeignModel, save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(replace(model, metadata=metadata(size=(SIZE, SIZE)), files=LABEL_FILE))
    assert answer(path, noise) == pytest.approx(expected_probabilities(noise), abs=1e-6)
    silent = save(replace(model, metadata=metadata(), files=LABEL_FILE))
    with pytest.raises(ArtifactError, match="takes images of any size: pass --input-size"):
        Classifier.open(silent)


def test_a_side_that_is_fixed_stays(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(HALF_OPEN)
    file = read_foreign(path)
    assert file.size is None
    with pytest.raises(ArtifactError, match="takes images of 8xany pixels: pass --input-size N or HEIGHTxWIDTH"):
        file.spec("tf")
    with pytest.raises(ArtifactError, match=r"--input-size 9x20 does not fit .*: it takes 8xany alone"):
        file.spec("tf", (9, 20))
    assert file.spec("tf", (SIZE, 20)).width == 20
    with pytest.raises(ArtifactError, match=r"takes \(1, 8, any, 3\), the preprocessing makes \(1, 9, 20, 3\)"):
        Classifier.open(path, spec=replace(SPEC, height=9, width=20))
    wide = np.concatenate([noise, noise], axis=1)
    found = answer(path, wide, replace(SPEC, width=2 * SIZE))
    assert found == pytest.approx(expected_probabilities(noise), abs=1e-6)


def test_metadata_that_contradict_a_fixed_side_do_not_count(save: Callable[[ForeignModel], Path]) -> None:
    path = save(replace(HALF_OPEN, metadata=metadata(size=(20, 20)), files=LABEL_FILE))
    with pytest.raises(ArtifactError, match="its metadata ask for 20x20 images: pass --input-size if they mean it"):
        Classifier.open(path)


@pytest.mark.parametrize("signature", [(), (1, -1, -1, 3), (-1, -1, -1, 3)])
def test_images_of_other_channels_do_not_fit_an_open_size(
    signature: tuple[int, ...], save: Callable[[ForeignModel], Path]
) -> None:
    grey = InputSpec(SIZE, SIZE, (127.5,), (127.5,), channels=1)
    with pytest.raises(ArtifactError, match=r"takes \(1, any, any, 3\), the preprocessing makes \(1, 8, 8, 1\)"):
        Classifier.open(save(replace(OPEN, signature=signature)), spec=grey)


def test_metadata_cannot_ask_for_any_amount_of_work(save: Callable[[ForeignModel], Path]) -> None:
    path = save(replace(OPEN, metadata=metadata(size=(4096, 4096)), files=LABEL_FILE))
    with pytest.raises(ArtifactError, match="its metadata ask for 4096x4096 images: pass --input-size"):
        Classifier.open(path)


def test_a_size_that_the_model_does_not_take_is_refused(save: Callable[[ForeignModel], Path]) -> None:
    with pytest.raises(ArtifactError, match=r"--input-size 9x8 does not fit .*: it takes 8x8 alone"):
        read_foreign(save(ForeignModel())).spec("tf", (9, 8))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (ForeignModel(), r"carries no card: .*\(--preprocessing\)"),
        (ForeignModel(metadata=metadata(())), "carries no card"),
        (ForeignModel(metadata=metadata()), "its metadata name 'labels.txt', which cannot be read .*cut off"),
        (ForeignModel(metadata=metadata(), files={"other.txt": b"a"}), "'labels.txt', which is not in the file"),
        (ForeignModel(metadata=metadata(), files={"labels.txt": b""}), "'labels.txt', which is empty"),
        (ForeignModel(metadata=metadata(), files={"labels.txt": b"\xff"}), "'labels.txt', which cannot be read"),
        (ForeignModel(metadata=metadata(), files={"labels.txt": b"a\nb"}), "there are 2 labels in its metadata"),
        (ForeignModel(metadata=metadata(std=(0.0,)), files=LABEL_FILE), r"std \(0\.0, .*must be positive"),
        (ForeignModel(metadata=metadata((1.0, 2.0)), files=LABEL_FILE), "2 numbers for 3 channels"),
        (ForeignModel(metadata=metadata((float("nan"),)), files=LABEL_FILE), "must be 3 finite numbers"),
        (ForeignModel(metadata=b"\0\0\0\0M002" + bytes(99)), "marked b'M002', not b'M001'"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_line(
    model: ForeignModel, said: str, save: Callable[[ForeignModel], Path]
) -> None:
    with pytest.raises(ArtifactError, match=said) as caught:
        Classifier.open(save(model))
    assert "\n" not in str(caught.value)


def test_1001_classes_and_1000_labels(save: Callable[[ForeignModel], Path]) -> None:
    path = save(ForeignModel(weights=np.zeros((1001, 3), np.float32)))
    with pytest.raises(ArtifactError, match=r"\(1, 1001\), there are 1000 labels: .*'background' at the top"):
        Classifier.open(path, spec=SPEC, labels=[str(i) for i in range(1000)])


def test_an_artifact_that_was_cut_off_is_no_foreign_model(tmp_path: Path) -> None:
    """Its flatbuffer has metadata, but how its images are cropped is in the card alone."""
    model = ForeignModel(metadata=metadata(), files={**LABEL_FILE, "card.json": tiny_artifact().card.to_bytes()})
    path = model.write(tmp_path / "artifact.tflite")
    path.write_bytes(path.read_bytes()[: len(model.flatbuffer())])
    with pytest.raises(ArtifactError, match="cut off or damaged: copy the file again"):
        Classifier.open(path)
