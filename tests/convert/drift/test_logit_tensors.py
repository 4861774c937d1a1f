"""Logits of a network with integer answers, against the mean colours that they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convert.drift.comparison import Comparison
from convert.drift.figures import measure, with_logits
from convert.drift.logit_tensors import MOST_IMAGES, tensor_logits
from convert.drift.models import open_model
from convert.drift.predictions import Predictions, predict_all
from convert.images.dataset import ImageSet, find_images
from convert.statistics.metrics import sqnr_db
from convert.system.progress import Silent
from edge_runtime.preprocess import load_pixels
from tests.conftest import save_colour_pictures
from tests.edge_runtime.tiny_model import INT8_ANSWER, LABELS, OUTPUT_SCALE, SPEC, tiny_artifact


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return find_images(save_colour_pictures(tmp_path_factory.mktemp("logits") / "pictures", 4, seed=4))


def mean_colours(images: ImageSet) -> np.ndarray:
    return np.stack([((load_pixels(path, SPEC) - 127.5) / 127.5).mean(axis=(0, 1)) for path in images.paths])


def test_logits_are_read_in_front_of_the_head(images: ImageSet, tmp_path: Path) -> None:
    with open_model(tiny_artifact(output_end=INT8_ANSWER).write(tmp_path / "int8.tflite")) as model:
        found = tensor_logits(model, images.paths)
        assert found is not None
        assert np.allclose(found, mean_colours(images), atol=1e-5)
        many = tensor_logits(model, images.paths * MOST_IMAGES)
        assert many is not None
        assert len(many) == MOST_IMAGES


def test_answers_in_floats_tell_their_logits_themselves(images: ImageSet, tmp_path: Path) -> None:
    with open_model(tiny_artifact().write(tmp_path / "float.tflite")) as model:
        assert tensor_logits(model, images.paths) is None


def test_the_sqnr_is_of_the_logits_and_not_of_256_steps(images: ImageSet, tmp_path: Path) -> None:
    """The network is equal but for its answers: nothing is lost in front of them."""
    answers = []
    for name, end in (("float", None), ("int8", INT8_ANSWER)):
        with open_model(tiny_artifact(output_end=end).write(tmp_path / f"{name}.tflite")) as model:
            answers.append(predict_all(model, images, Silent(), ""))
            given = tensor_logits(model, images.paths[:5])
    compared = Comparison(*answers, None)
    before, after = measure(compared), with_logits(measure(compared), compared, given)
    assert (before.sqnr_of, before.answer_step) == ("answers", OUTPUT_SCALE)
    assert before.sqnr_db < 60
    assert (after.sqnr_of, after.sqnr_images, after.answers_sqnr_db) == ("logits", 5, before.sqnr_db)
    assert after.sqnr_db > 100
    assert after.agreement_top1 == before.agreement_top1, "the verdict is about answers"


def test_logits_follow_the_labels_of_the_reference() -> None:
    """The candidate has its classes in another order; a softmax knows logits less their mean alone."""
    paths, wanted = (Path("a.png"), Path("b.png")), np.array([[3.0, -1.0, -2.0], [0.5, 1.5, -2.0]])
    powers = np.exp(wanted)
    reference = Predictions(paths, (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), LABELS)
    candidate = Predictions(paths, reference.probabilities[:, [2, 0, 1]], ("blue", "red", "green"), step=1 / 256)
    compared, error = Comparison(reference, candidate, None), np.array([[0.1, -0.1, 0.0], [0.0, 0.0, 0.0]])
    found = with_logits(measure(compared), compared, ((wanted + error + 7.0)[:, [2, 0, 1]]).astype(np.float32))
    assert found.sqnr_db == pytest.approx(sqnr_db(wanted, wanted + error), abs=1e-3)
