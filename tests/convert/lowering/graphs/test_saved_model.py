"""SavedModel folders become networks of ours that answer the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from convert import convert_model, measure_drift
from convert.cache.stages import lowering
from convert.errors import SourceError
from convert.keras_models.sources import SAVED_MODEL, ModelSource
from convert.lowering.keras_comparison import checked_sqnr_db, tflite_logits
from convert.lowering.lower import LoweringRequest
from convert.statistics.verdict import PASS
from convert.tflite.graph import TfliteGraph
from edge_runtime import Classifier
from tests.convert.lowering.graphs.foreign import (
    CLASSES,
    FOREIGN,
    HEIGHT,
    IMAGE,
    MEAN,
    STD,
    WIDTH,
    Foreign,
    images,
    logits,
    pictures,
    pixels,
    scaled_inside,
)
from tests.convert.lowering.graphs.saved_models import answers, opened, saved, small


@pytest.mark.parametrize(
    "name",
    ["channels first", "any batch, a shape that is computed", "logarithms", "a softmax written out", "one sigmoid"],
)
def test_it_answers_as_the_function_that_was_saved(name: str, tmp_path: Path) -> None:
    foreign = FOREIGN[name]
    network = opened(foreign.saved(tmp_path / "theirs"))
    model, x = network.to_tflite(tmp_path, print), images()
    graph = TfliteGraph(model)
    assert graph.shape_signature(graph.inputs[0]) == IMAGE
    assert network.head == foreign.head
    assert network.recognized == f"theirs: SavedModel of TensorFlow {tf.__version__}, signature classify"
    np.testing.assert_allclose(answers(model, x), foreign.probabilities(x), atol=1e-6)
    assert checked_sqnr_db(network.logits(x), tflite_logits(model, x)) > 100


def test_keras_own_export(tmp_path: Path) -> None:
    """It has two endpoints, `serve` and `serving_default`, and a size that is open."""
    model = small(layers.Dense(CLASSES, activation="softmax"))
    model.export(tmp_path / "exported", verbose=False)
    network = opened(tmp_path / "exported", input_size=11)
    x = np.random.default_rng(1).normal(size=(3, 11, 11, 3)).astype(np.float32)
    np.testing.assert_allclose(answers(network.to_tflite(tmp_path, print), x), model(x), atol=1e-6)
    with pytest.raises(SourceError, match=r"takes images of any size: pass --input-size N"):
        opened(tmp_path / "exported")


@pytest.mark.parametrize(("function", "dtype"), [(pixels, tf.uint8), (pixels, tf.float32), (scaled_inside, tf.float32)])
def test_what_scales_pixels_becomes_preprocessing(function: Any, dtype: tf.DType, tmp_path: Path) -> None:
    """Also what TFLiteConverter would move into the first convolution, unseen."""
    foreign = Foreign(function, dtype=dtype)
    network = opened(foreign.saved(tmp_path / "theirs"))
    spec = network.spec(None)
    mean, std = (MEAN, STD) if function is pixels else ((127.5,) * 3, (127.5,) * 3)
    np.testing.assert_allclose(spec.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(spec.std, std, rtol=1e-6)
    raw = np.random.default_rng(5).integers(0, 256, (4, HEIGHT, WIDTH, 3), np.uint8)
    x = ((raw - np.array(spec.mean)) / np.array(spec.std)).astype(np.float32)
    if function is scaled_inside:
        assert network.front == (
            "folded: truediv(127.5) into the card's mean and std",
            "folded: sub(1) into the card's mean and std",
        )
    model = network.to_tflite(tmp_path, print)
    np.testing.assert_allclose(answers(model, x), foreign.probabilities(raw.astype(dtype.as_numpy_dtype)), atol=1e-6)
    assert checked_sqnr_db(network.logits(x), tflite_logits(model, x)) > 100
    with pytest.raises(
        SourceError, match=r"theirs scales its pixels itself \(.*\), and --preprocessing tf would scale"
    ):
        network.spec("tf")


def test_the_signature(tmp_path: Path) -> None:
    def zeros(picture: Any) -> dict[str, Any]:
        return {"scores": 0 * logits(picture)}

    def scores(picture: Any) -> dict[str, Any]:
        return {"scores": tf.nn.softmax(logits(picture))}

    def both(picture: Any) -> dict[str, Any]:
        return {"a": logits(picture), "b": picture}

    network = opened(saved(tmp_path / "default", other=zeros, serving_default=scores))
    x = images()
    expected = FOREIGN["any batch"].probabilities(x)
    np.testing.assert_allclose(answers(network.to_tflite(tmp_path, print), x), expected, atol=1e-6)
    with pytest.raises(
        SourceError, match=r"neither has 2 signatures \(one, other\), none of them serving_default: save"
    ):
        opened(saved(tmp_path / "neither", one=zeros, other=scores))
    with pytest.raises(SourceError, match=r"several has 2 outputs \(a, b\) in its signature serving_default: an image"):
        opened(saved(tmp_path / "several", serving_default=both))
    tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
    with pytest.raises(SourceError, match=r"none has no signature, not even serving_default: save it with"):
        opened(tmp_path / "none")


def test_a_graph_of_tensorflow_1(tmp_path: Path) -> None:
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        image = tf.compat.v1.placeholder(tf.float32, IMAGE)
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "old"), {"x": image}, {"y": logits(image)})
    with pytest.raises(SourceError, match=r"old was saved by TensorFlow 1, whose graphs are not supported"):
        opened(tmp_path / "old")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A subclassed Keras model, which no Keras file can hold without its code."""

    class Theirs(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="theirs")
            self.inside = keras.Sequential(
                [
                    layers.Conv2D(8, 3, activation="relu", use_bias=False), layers.GlobalAveragePooling2D(),
                    layers.Dense(1, activation="sigmoid"),
                ]
            )  # fmt: skip

        def call(self, image: Any) -> Any:
            return self.inside(image / 127.5 - 1)

    keras.utils.set_random_seed(3)
    model = Theirs()
    model(np.zeros((2, HEIGHT, WIDTH, 3), np.float32))
    random = np.random.default_rng(2)
    model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    return model, tmp_path_factory.mktemp("api")


def test_a_subclassed_model_in_memory_is_converted_by_its_graph(exported: tuple[Any, Path]) -> None:
    model, folder = exported
    outcomes = convert_model(
        model, schemes="none,int8", labels=["cat", "dog"], calibration=pictures(folder / "calibration", 30),
        validation=pictures(folder / "validation", 120), output_dir=folder, thumbnails=False,
    )  # fmt: skip
    assert [outcome.path.name for outcome in outcomes] == ["theirs.none.tflite", "theirs.int8.tflite"]
    assert outcomes[1].gate is not None
    assert outcomes[1].gate.verdict == PASS
    raw = np.random.default_rng(5).integers(0, 256, (4, HEIGHT, WIDTH, 3), np.uint8)
    expected = np.asarray(model(raw.astype(np.float32)))[:, 0]
    with Classifier.open(outcomes[0].path) as classifier:
        assert classifier.labels == ("cat", "dog")
        np.testing.assert_allclose(classifier.probabilities(list(raw))[:, 1], expected, atol=1e-5)


def test_a_saved_model_is_a_reference(exported: tuple[Any, Path]) -> None:
    model, folder = exported
    model.export(folder / "reference", verbose=False)
    validation = pictures(folder / "other", 100)
    found = measure_drift(folder / "theirs.none.tflite", folder / "reference", validation, labels=["cat", "dog"])
    assert found.assessment.drift.agreement_top1 == 1


def test_the_cache_depends_on_every_file_of_the_folder(tmp_path: Path) -> None:
    folder = FOREIGN["logits"].saved(tmp_path / "theirs")
    assert ModelSource(str(folder)).origin == SAVED_MODEL

    def key() -> str:
        return str(lowering(LoweringRequest(ModelSource(str(folder)), "tf", (), tmp_path)).key().digest)

    before = key()
    (folder / ".DS_Store").write_bytes(b"of a file manager")
    assert key() == before
    variables = next((folder / "variables").glob("*.data-*"))
    variables.write_bytes(variables.read_bytes() + b"\0")
    assert key() != before


def test_a_moved_folder_is_the_same_network(tmp_path: Path) -> None:
    folder = FOREIGN["logits"].saved(tmp_path / "theirs")
    found = opened(folder).weights_sha256
    assert re.fullmatch("[0-9a-f]{64}", found)
    assert opened(folder.rename(tmp_path / "moved")).weights_sha256 == found
