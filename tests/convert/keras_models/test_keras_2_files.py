"""Whole models written by TensorFlow 2.4, 2.12 and 2.15, and their own answers: `keras_2_files.zip`.

Made by `tests/origins/make_models.py`, of which `make test-origins` tries more models, forms and versions.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from convert.keras_models import model_files
from tests.convert.keras_models.loading import error_of, load_path, predict

ARCHIVE = Path(__file__).with_name("keras_2_files.zip")
FILES = sorted(set(zipfile.ZipFile(ARCHIVE).namelist()) - {"answers.npz"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras_2")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(path)
    return path


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_keras_2_answers_as_its_own_version_did(file: str, folder: Path) -> None:
    with np.load(folder / "answers.npz") as stored:
        images, expected = stored["images"].astype(np.float32), log_probabilities(stored[file])
        images = images / np.float32(127.5) - 1 if f"fed_tf/{file}" in stored else images
    loaded = load_path(folder / file)
    found = np.log(predict(loaded.model, images).astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    version, name = file.split("/")
    assert loaded.recognized.startswith(f"{name}: Keras {version}.0 model (")


def test_other_names_open_too(folder: Path, tmp_path: Path) -> None:
    for file in ("2.15/in_functional_frozen.keras", "2.4/shared.h5"):
        path = shutil.copy(folder / file, tmp_path / "mine.onnx")
        assert load_path(Path(path)).model.output_shape == (None, 5)


def test_a_file_of_keras_3_under_another_name(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(keras.layers.Flatten()(image)))
    for name in ("a.keras", "a.h5"):
        model.save(tmp_path / name)
        (tmp_path / name).rename(tmp_path / "mine.bin")
        recognized = load_path(tmp_path / "mine.bin").recognized
        assert recognized.startswith(f"mine.bin: Keras {keras.__version__} model (")


def edited(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(folder / "2.4/shared.h5", tmp_path / "edited.h5"))


def test_weights_of_another_shape_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    path = edited(folder, tmp_path)
    with h5py.File(path, "r+") as file:
        del file["model_weights/head/head/kernel:0"]
        file["model_weights/head/head/kernel:0"] = np.zeros((3, 5), np.float32)
    assert error_of(lambda: load_path(path)) == (
        f"weight head/kernel of {path} does not fit: it is (3, 5), not (32, 5); save the model again"
    )


def test_weights_that_are_missing_are_named(folder: Path, tmp_path: Path) -> None:
    path = edited(folder, tmp_path)
    with h5py.File(path, "r+") as file:
        file["model_weights/head"].attrs["weight_names"] = np.array([], "S1")
    assert "layer head of" in error_of(lambda: load_path(path))
    with h5py.File(path, "r+") as file:
        del file["model_weights/head"].attrs["weight_names"]
        file["model_weights/head"].attrs["weight_names"] = np.array([b"head/kernel:0"])
    assert error_of(lambda: load_path(path)) == f"layer head of {path} has 1 weights, not 2: save it again"


def test_names_decide_where_orders_differ(folder: Path, tmp_path: Path) -> None:
    path = edited(folder, tmp_path)
    before = predict(load_path(path).model, np.ones((1, 32, 32, 3), np.float32))
    with h5py.File(path, "r+") as file:
        group = file["model_weights/head"]
        group.attrs["weight_names"] = group.attrs["weight_names"][::-1]
    np.testing.assert_array_equal(predict(load_path(path).model, np.ones((1, 32, 32, 3), np.float32)), before)


def test_the_reason_of_keras_names_layer_and_cause() -> None:
    broken = {
        "module": "keras.layers",
        "class_name": "Conv2D",
        "config": {"name": "stem", "filters": 8, "kernel_size": 3, "padding": "valid" * 100, "colour": "blue"},
        "registered_name": None,
    }
    with pytest.raises(TypeError) as caught:
        keras.saving.deserialize_keras_object(broken)
    reason = model_files.reason(caught.value)
    assert reason.startswith("layer stem of class Conv2D: ")
    assert "colour" in reason
    assert len(reason) <= 400
