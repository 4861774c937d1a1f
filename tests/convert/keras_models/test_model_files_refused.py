"""Whole Keras models that are refused: unsafe, damaged, or no image classifier."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import pytest
from keras import layers

from tests.convert.keras_models.loading import article_network, classifier, error_of, load_path, save


@keras.saving.register_keras_serializable("someone")
class ForeignLayer(layers.Layer):  # type: ignore[misc]
    """Registered, so that Keras itself would load it in this process."""

    def call(self, x: Any) -> Any:
        return x + 1


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("depth", ["on top", "inside another model"])
def test_foreign_classes_are_refused_by_name(suffix: str, depth: str, tmp_path: Path) -> None:
    body = keras.Sequential([keras.Input((8, 8, 3)), ForeignLayer()])
    x = body.inputs[0] if depth == "on top" else keras.Input((8, 8, 3))
    flat = layers.Flatten()(ForeignLayer()(x) if depth == "on top" else body(x))
    path = save(keras.Model(x, layers.Dense(5)(flat)), tmp_path / f"foreign{suffix}")
    message = error_of(lambda: load_path(path))
    assert message.startswith(f"{path} has a layer of class ")
    assert "ForeignLayer, which is not Keras' own, and models are loaded in safe mode" in message


def test_an_article_model_saved_whole_is_sent_to_weights(tmp_path: Path) -> None:
    path = save(article_network(), tmp_path / "article.keras")
    message = error_of(lambda: load_path(path))
    assert "Conv_Bn_Relu, which is not Keras' own" in message
    assert message.endswith("or pass an article-trained network as --weights FILE --classes N")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_refused_and_never_run(suffix: str, tmp_path: Path) -> None:
    ran = str(tmp_path / "ran")
    image = keras.Input((8, 8, 3))
    x = layers.Lambda(lambda x, path=ran: __import__("pathlib").Path(path).write_text("ran") and x)(image)
    path = save(keras.Model(image, layers.Dense(5)(layers.Flatten()(x))), tmp_path / f"lambda{suffix}")
    Path(ran).unlink()  # it ran when the model was made, as it would when it is made again
    assert error_of(lambda: load_path(path)) == (
        f"{path} has a Lambda layer, which is code in the file, and models are loaded in safe mode: replace it with "
        "Keras' own layers"
    )
    assert not Path(ran).exists()


def edit_configuration(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the configuration inside a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    configuration = json.loads(members["config.json"])
    edit(configuration)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, json.dumps(configuration) if name == "config.json" else content)


@pytest.mark.parametrize(
    "reference",
    [
        {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"},
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
        {"module": "keras.saving", "class_name": "function", "config": "load_model", "registered_name": None},
        {"class_name": "__lambda__", "config": {"value": "4wA="}},
    ],
    ids=lambda reference: f"{reference.get('module')}.{reference['config']}",
)
def test_a_function_from_outside_the_building_blocks_is_refused(reference: dict[str, Any], tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")

    def edit(configuration: dict[str, Any]) -> None:
        configuration["config"]["layers"][1]["config"]["activation"] = reference

    edit_configuration(path, edit)
    assert "models are loaded in safe mode" in error_of(lambda: load_path(path))


def test_links_in_a_model_file_are_not_followed(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/head"]
        file["model_weights/head"] = h5py.ExternalLink("/etc/secrets.h5", "/")
    assert "holds a link in place of data at model_weights/head" in error_of(lambda: load_path(path))


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "parts")
    with h5py.File(tmp_path / "parts" / "model.weights.h5", "r+") as file:
        file["layers/elsewhere"] = h5py.ExternalLink("/etc/secrets.h5", "/")
    with zipfile.ZipFile(path, "w") as archive:
        for part in (tmp_path / "parts").iterdir():
            archive.write(part, part.name)
    assert "holds a link in place of data at layers/elsewhere" in error_of(lambda: load_path(path))


def test_weights_that_would_fill_the_memory_are_not_inflated(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")
    with zipfile.ZipFile(path) as archive:
        configuration = archive.read("config.json")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", configuration)
        archive.writestr("model.weights.h5", bytes(2**25))
    assert "model.weights.h5 claims 33,554,432 bytes, over 100 times the file" in error_of(lambda: load_path(path))


def test_weights_in_place_of_a_model(saved: Path) -> None:
    assert error_of(lambda: load_path(saved)) == (
        f"{saved} holds weights without a model: pass --weights {saved} --classes N for the article's network, or save "
        "the whole model as NAME.keras"
    )


@pytest.mark.parametrize("name", ["mine.keras", "mine.h5"])
def test_a_model_file_of_something_else(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("not a model")
    assert error_of(lambda: load_path(path)).startswith(f"{path} is not a")


def test_a_zip_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "mine.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    message = error_of(lambda: load_path(path))
    assert message.startswith(f"{path} is not a Keras model or is damaged (")
    assert message.endswith("): save it with model.save('NAME.keras')")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_file_that_was_cut_off(suffix: str, tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / f"mine{suffix}")
    path.write_bytes(path.read_bytes()[:-3000])
    assert "damaged" in error_of(lambda: load_path(path))


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b'"text"', b"[]"])
def test_a_configuration_that_is_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", content)
    assert error_of(lambda: load_path(path)).startswith(str(path))


def test_weights_missing_from_a_model_file(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")
    with zipfile.ZipFile(path) as archive:
        configuration = archive.read("config.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", configuration)
    assert error_of(lambda: load_path(path)).startswith(f"{path} cannot be loaded by Keras {keras.__version__} (")


def test_any_size_needs_a_size(tmp_path: Path) -> None:
    path = save(classifier(size=None), tmp_path / "any.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} takes images of any size: pass --input-size N or HxW, the size it was trained at"


def test_too_small_a_size_for_a_model_of_any_size(tmp_path: Path) -> None:
    path = save(classifier(size=None), tmp_path / "any.keras")
    assert error_of(lambda: load_path(path, input_size=2)).startswith(f"{path} cannot take 2x2 images (")


def test_another_size_than_the_model_s(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")
    message = error_of(lambda: load_path(path, input_size=16))
    assert message == f"--input-size 16 differs from 8x8, the input size of {path}: leave it out"


def test_models_of_four_channels_are_refused(tmp_path: Path) -> None:
    path = save(classifier(channels=4), tmp_path / "deep.keras")
    assert error_of(lambda: load_path(path)) == (
        f"{path} takes images of shape (8, 8, 4): only RGB, (height, width, 3), and grey, (height, width, 1), are "
        "supported"
    )


def test_one_class_is_no_classifier(tmp_path: Path) -> None:
    path = save(classifier(classes=1), tmp_path / "one.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} has 1 class: a classifier has at least 2"


def test_a_feature_extractor_is_no_classifier(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    path = save(keras.Model(image, layers.Conv2D(4, 3)(image)), tmp_path / "features.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} has outputs of shape (6, 6, 4): a classifier has one number per class, (classes,)"


def test_a_model_of_vectors_is_no_image_classifier(tmp_path: Path) -> None:
    vector = keras.Input((20,))
    path = save(keras.Model(vector, layers.Dense(5)(vector)), tmp_path / "vector.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} takes inputs of shape (20,): a classifier of images takes (height, width, 3)"


def test_two_outputs_are_refused(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    flat = layers.Flatten()(image)
    path = save(keras.Model(image, [layers.Dense(5)(flat), layers.Dense(2)(flat)]), tmp_path / "two.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} has 1 inputs and 2 outputs: a classifier has one of each"


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_model_without_an_input_shape_is_refused(tmp_path: Path) -> None:
    path = save(keras.Sequential([layers.Flatten(), layers.Dense(5)]), tmp_path / "unbuilt.keras")
    assert error_of(lambda: load_path(path)) == (
        f"{path} was saved before it had an input shape: call the model on an image, then save it"
    )
