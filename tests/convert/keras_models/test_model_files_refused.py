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

from convert.keras_models import loader
from convert.keras_models.model_files import reason
from convert.keras_models.sources import ModelSource
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
    assert message.startswith(f"{path} has a layer foreign_layer")
    assert "ForeignLayer, which is not Keras' own, and models are loaded in safe mode" in message


@pytest.mark.parametrize("name", ["CustomScaleLayer", "Dense"])
def test_a_class_of_a_package_without_a_module_is_refused_before_it_is_loaded(name: str, tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")

    def rename(configuration: dict[str, Any]) -> None:
        layer = configuration["config"]["layers"][-1]
        layer |= {"module": None, "class_name": name, "registered_name": f"mine>{name}"}

    edit_configuration(path, rename)
    message = error_of(lambda: load_path(path))
    assert f"of class mine>{name}, which is not " in message
    assert "cannot be loaded by Keras" not in message


CONFIGURATION = "Full object config: {'module': None, 'config': {'name': 'x'}}"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"Could not locate class 'X'. Make sure of it. {CONFIGURATION}", "Could not locate class 'X'"),
        (
            "<class 'keras.src.models.Functional'> could not be deserialized properly. config={'config': {'name': 'f'}}"
            f". Exception encountered: Could not locate class 'X'. Make sure of it. {CONFIGURATION}",
            "layer f of class Functional: Could not locate class 'X'",
        ),
        ("abcdefgh " * 30, f"{('abcdefgh ' * 22).strip()}…"),
    ],
)
def test_the_reason_is_the_first_sentence_in_whole_words(message: str, expected: str) -> None:
    assert reason(ValueError(message)) == expected


def test_an_article_model_saved_whole_is_sent_to_weights(tmp_path: Path) -> None:
    path = save(article_network(), tmp_path / "article.keras")
    message = error_of(lambda: load_path(path))
    assert "Conv_Bn_Relu, which is not Keras' own" in message
    assert message.endswith("or pass an article-trained network as --weights FILE --classes N")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_refused_and_never_run(suffix: str, tmp_path: Path) -> None:
    ran = str(tmp_path / "ran")
    image = keras.Input((8, 8, 3))
    code = layers.Lambda(lambda x, path=ran: __import__("pathlib").Path(path).write_text("ran") and x, name="lambda")
    x = code(image)
    path = save(keras.Model(image, layers.Dense(5)(layers.Flatten()(x))), tmp_path / f"lambda{suffix}")
    Path(ran).unlink()  # it ran when the model was made, as it would when it is made again
    assert error_of(lambda: load_path(path)) == (
        f"{path} has a Lambda layer lambda, which is code in the file, and models are loaded in safe mode: replace it "
        "with Keras' own layers"
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


def test_the_side_that_is_open_is_asked_for_and_no_other(tmp_path: Path) -> None:
    image = keras.Input((None, 8, 3))
    path = save(keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(image))), tmp_path / "tall.keras")
    asked = error_of(lambda: load_path(path))
    assert asked == f"{path} takes images of anyx8 pixels: pass --input-size Nx8, the size it was trained at"
    square = error_of(lambda: load_path(path, input_size=9))
    assert square == f"--input-size 9 differs from anyx8, the input size of {path}: pass --input-size Nx8"
    loaded = loader.load(ModelSource(model=str(path), input_size=(12, 8)))
    assert loaded.model.input_shape == (None, 12, 8, 3)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_a_model_that_keras_itself_quantized(mode: str, tmp_path: Path) -> None:
    theirs = classifier()
    theirs.quantize(mode)
    path = save(theirs, tmp_path / "mine.keras")
    assert error_of(lambda: load_path(path)) == (
        f"{path} was quantized by Keras itself (layer head, {mode}): pass the model as it was saved before "
        "model.quantize(), the float values are needed here"
    )


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
    assert message == f"{path} has 1 class: a classifier of two ends in one sigmoid unit or in two units with a softmax"


def test_a_feature_extractor_is_no_classifier(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    path = save(keras.Model(image, layers.Conv2D(4, 3)(image)), tmp_path / "features.keras")
    message = error_of(lambda: load_path(path))
    assert message == (
        f"{path} has outputs of shape (6, 6, 4): a classifier has one number per class, (classes,); pass the network "
        "with the head that it was trained with"
    )


def test_a_model_of_vectors_is_no_image_classifier(tmp_path: Path) -> None:
    vector = keras.Input((20,))
    path = save(keras.Model(vector, layers.Dense(5)(vector)), tmp_path / "vector.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} takes inputs of shape (20,): a classifier of images takes (height, width, 3)"


def test_two_outputs_are_refused(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    flat = layers.Flatten()(image)
    ends = [layers.Dense(5, name="kind")(flat), layers.Dense(2, name="box")(flat)]
    path = save(keras.Model(image, ends), tmp_path / "two.keras")
    message = error_of(lambda: load_path(path))
    assert message == (
        f"{path} has 2 outputs, kind, box: a classifier has one; for kind save keras.Model(model.input, "
        "model.outputs[0])"
    )


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    images = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    flat = layers.Flatten()(layers.Concatenate()(images))
    path = save(keras.Model(images, layers.Dense(5)(flat)), tmp_path / "two.keras")
    assert error_of(lambda: load_path(path)) == f"{path} has 2 inputs: a classifier has one, an image"


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_model_without_an_input_shape_is_refused(tmp_path: Path) -> None:
    path = save(keras.Sequential([layers.Flatten(), layers.Dense(5)]), tmp_path / "unbuilt.keras")
    assert error_of(lambda: load_path(path)) == (
        f"{path} was saved before it had an input shape: call the model on an image, then save it"
    )


def stand_in(package: str | None) -> type:
    """A home-made layer of the name of Keras' own, x + scale * branch, without the sum."""

    class CustomScaleLayer(layers.Layer):  # type: ignore[misc]
        def __init__(self, scale: float, **options: Any) -> None:
            super().__init__(**options)
            self.scale = scale

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "scale": self.scale}

        def call(self, inputs: Any) -> Any:
            return inputs[1] * self.scale

    if package is not None:
        keras.saving.register_keras_serializable(package)(CustomScaleLayer)
    return CustomScaleLayer


@pytest.mark.parametrize(
    ("suffix", "package"),
    [(".keras", "Custom"), (".keras", "mine"), (".keras", None), (".h5", "Custom"), (".h5", "mine")],
)
def test_stand_ins_for_keras_residual_sum_are_refused(suffix: str, package: str | None, tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    x = stand_in(package)(0.17, name="scale_3")([image, layers.Conv2D(3, 1)(image)])
    path = save(keras.Model(image, layers.Dense(5)(layers.Flatten()(x))), tmp_path / f"mine{suffix}")
    message = error_of(lambda: load_path(path))
    assert message.startswith(f"{path} has a layer scale_3 of class ")
    assert "CustomScaleLayer, which is not keras.applications' own: home-made stand-ins" in message
