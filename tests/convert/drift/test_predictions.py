"""Models predict sets of images: in order, alone or in step, without those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from convert.drift.models import ModelPredictor, open_model
from convert.drift.predictions import predict_all, predict_both, refuse_too_few, true_answers
from convert.errors import ImageSetError
from convert.images.dataset import ImageSet, find_images
from convert.system.progress import Silent
from edge_runtime import EngineError
from edge_runtime.arrays import Array
from edge_runtime.preprocess import load_pixels
from tests.conftest import save_colour_pictures
from tests.convert.drift.predictors import FakePredictor, image_set
from tests.convert.listeners import Listener
from tests.edge_runtime.tiny_model import LABELS, SIZE, SPEC, expected_probabilities, tiny_artifact


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelPredictor]:
    with open_model(tiny_artifact().write(tmp_path_factory.mktemp("tiny") / "tiny.tflite")) as model:
        yield model


def test_a_model_answers_in_the_order_of_the_set(tiny: ModelPredictor, tmp_path: Path) -> None:
    images = find_images(save_colour_pictures(tmp_path / "pictures", 3, seed=4)).shuffled()
    listener = Listener()
    found = predict_all(tiny, images, listener, "answering")
    assert found.paths == images.paths
    assert found.labels == LABELS
    assert listener.counts == [(done, 9) for done in range(1, 10)]
    by_hand = [expected_probabilities(load_pixels(path, SPEC)) for path in images.paths]
    assert np.allclose(found.probabilities, by_hand, atol=1e-6)
    assert true_answers(images, found) == [LABELS.index(folder) for folder in images.folders or ()]
    assert SIZE < 75, "pictures were resized"


def test_an_unreadable_image_is_in_no_count(tiny: ModelPredictor, tmp_path: Path) -> None:
    folder = save_colour_pictures(tmp_path / "pictures", 4, seed=4)
    (folder / "green" / "001.png").write_bytes(b"no picture")
    images = find_images(folder)
    found = predict_all(tiny, images, Silent(), "")
    assert len(found.paths) == len(found.probabilities) == 11
    assert len(found.skipped) == 1
    assert "001.png" in found.skipped[0]
    assert true_answers(images, found) == [2] * 4 + [1] * 3 + [0] * 4


def test_a_flat_folder_has_no_true_answers(tiny: ModelPredictor, tmp_path: Path) -> None:
    images = find_images(save_colour_pictures(tmp_path / "pictures", 2, seed=4) / "red")
    assert true_answers(images, predict_all(tiny, images, Silent(), "")) is None


def test_no_readable_image_is_an_error(tiny: ModelPredictor, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(ImageSetError, match="1 of 1 images"):
        predict_all(tiny, find_images(tmp_path), Silent(), "")


class NanAtTwo(FakePredictor):
    """Computes NaN for the third image."""

    def rows(self, images: ImageSet, skipped: list[str]) -> Iterator[tuple[int, Array]]:
        for index, row in super().rows(images, skipped):
            yield index, row * (np.nan if index == 2 else 1)


def test_nan_is_refused_at_the_image_that_has_it() -> None:
    broken = NanAtTwo([0] * 5)
    with pytest.raises(EngineError, match=r"fake\.tflite answers x/2\.png with NaN or infinity"):
        predict_all(broken, image_set(5), Silent(), "")
    assert broken.asked == 3
    with pytest.raises(EngineError, match=r"x/2\.png with NaN"):
        predict_both(FakePredictor([0] * 5), broken, image_set(5), Silent(), "")


def test_only_images_that_both_can_read_count() -> None:
    reference = FakePredictor([0, 1, 2, 0, 1], unreadable=[1])
    candidate = FakePredictor([0, 1, 2, 0, 1], unreadable=[2, 4])
    listener = Listener()
    expected, found = predict_both(reference, candidate, image_set(5), listener, "")
    assert expected.paths == found.paths == (Path("x/0.png"), Path("x/3.png"))
    assert expected.probabilities.argmax(axis=1).tolist() == [0, 0]
    assert listener.counts == [(1, 5), (2, 5)]
    assert reference.asked == candidate.asked == 5, "both are read to their ends"
    assert expected.skipped == ("x/1.png is broken",)
    assert found.skipped == ("x/2.png is broken", "x/4.png is broken")


def test_nothing_in_common_is_left_to_the_caller_to_refuse() -> None:
    both = predict_both(FakePredictor([0] * 20, [0]), FakePredictor([0]), image_set(20), Silent(), "")
    for predictions in both:
        assert predictions.probabilities.shape == (0, 3)
        with pytest.raises(ImageSetError, match="no image in x could be read"):
            refuse_too_few(predictions, image_set(20))


def test_a_run_in_step_ends_when_enough_was_seen() -> None:
    reference, candidate = FakePredictor([0] * 9), FakePredictor([1] * 9)
    seen: list[int] = []

    def enough(index: int, reference: Array, candidate: Array) -> bool:
        assert (reference.argmax(), candidate.argmax()) == (0, 1)
        seen.append(index)
        return index == 3

    expected, found = predict_both(reference, candidate, image_set(9), Silent(), "", enough)
    assert seen == [0, 1, 2, 3]
    assert len(expected.paths) == len(found.paths) == 4
    assert candidate.asked == 4, "nothing is computed for nothing"
