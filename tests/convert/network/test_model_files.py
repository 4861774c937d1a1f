"""Whole Keras models: what is loaded, and what is refused."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from convert.network import weights
from convert.network.sources import ModelSource
from tests.convert.article import SMALL, article_model, randomise
from tests.convert.network.loading import error_of, predict

TINY_IMAGES = np.random.default_rng(3).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)


def classifier(
    last: Any = "softmax", size: int | None = 8, channels: int = 3, classes: int = 5, dtype: str = "float32"
) -> keras.Model:
    """A small classifier whose weights all matter; `last` is the activation of its last layer."""
    image = keras.Input((size, size, channels))
    x = layers.Conv2D(6, 3, activation="relu", dtype=dtype)(image)
    x = layers.BatchNormalization(dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return randomise(
        keras.Model(image, layers.Dense(classes, activation=last, dtype=dtype, name="head")(x), name="tiny")
    )


def save(model: keras.Model, path: Path) -> Path:
    model.save(path)
    return path


def load_path(path: Path, input_size: int | None = None) -> weights.LoadedModel:
    return weights.load(ModelSource(model=str(path), input_size=input_size))


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_load_a_model(suffix: str, tmp_path: Path) -> None:
    theirs = classifier()
    path = save(theirs, tmp_path / f"mine{suffix}")
    loaded = load_path(path)
    assert (loaded.architecture, loaded.labels) == ("tiny", None)
    assert loaded.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_of_keras_applications_are_known(suffix: str, tmp_path: Path) -> None:
    from keras.src.applications.convnext import LayerScale
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    image = keras.Input((8, 8, 3))
    x = CustomScaleLayer(0.17)([image, layers.Conv2D(3, 3, padding="same")(image)])
    x = LayerScale(0.3, 3)(x)
    theirs = keras.Model(image, layers.Dense(5, activation="softmax")(layers.Flatten()(x)))
    loaded = load_path(save(theirs, tmp_path / f"scaled{suffix}"))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_compiled_with_a_loss_of_the_user_s_own(suffix: str, tmp_path: Path) -> None:
    def my_loss(truth: Any, guess: Any) -> Any:
        return keras.losses.categorical_crossentropy(truth, guess)

    theirs = classifier()
    theirs.compile("adam", my_loss)
    assert load_path(save(theirs, tmp_path / f"mine{suffix}")).model.output_shape == (None, 5)


def test_operations_and_preprocessing_layers_of_keras(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(layers.RandomFlip()(image))
    x = keras.ops.relu(layers.Conv2D(4, 3, kernel_regularizer="l2", kernel_constraint="max_norm")(x)) + 1.0
    theirs = keras.Model(image, keras.ops.softmax(layers.Dense(5)(layers.Flatten()(x))))
    loaded = load_path(save(theirs, tmp_path / "ops.keras"))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


def test_a_sequential_model_around_another_model(tmp_path: Path) -> None:
    body = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten()])
    theirs = keras.Sequential([keras.Input((8, 8, 3)), body, layers.Dense(5)])
    loaded = load_path(save(theirs, tmp_path / "nested.keras"))
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(predict(theirs, TINY_IMAGES)))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), expected, atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_logits_get_a_softmax(suffix: str, tmp_path: Path) -> None:
    theirs = classifier(last=None)
    loaded = load_path(save(theirs, tmp_path / f"logits{suffix}"))
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(predict(theirs, TINY_IMAGES)))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), expected, atol=1e-6)
    assert loaded.model.output_shape == (None, 5)
    assert loaded.architecture == "tiny"


def test_logits_out_of_a_pooling_layer(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    theirs = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(5, 1)(image)))
    loaded = load_path(save(theirs, tmp_path / "squeeze.keras"))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "end",
    [layers.Activation("softmax"), layers.Softmax(), keras.ops.softmax, layers.Dense(5, activation="softmax")],
    ids=["activation", "layer", "operation", "dense"],
)
@pytest.mark.parametrize("after", [None, layers.Activation("linear"), layers.Reshape((5,)), layers.Dropout(0.5)])
def test_a_softmax_is_not_doubled(
    end: Callable[[Any], Any], after: Callable[[Any], Any] | None, tmp_path: Path
) -> None:
    image = keras.Input((8, 8, 3))
    probabilities = end(layers.Dense(5)(layers.Flatten()(image)))
    theirs = randomise(keras.Model(image, probabilities if after is None else after(probabilities)))
    loaded = load_path(save(theirs, tmp_path / "mine.keras"))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


@pytest.mark.parametrize("last", ["sigmoid", "relu", "log_softmax"])
def test_another_end_is_refused(last: str, tmp_path: Path) -> None:
    path = save(classifier(last), tmp_path / "mine.keras")
    assert error_of(lambda: load_path(path)) == (
        f"{path} ends in {last}: a classifier ends in a softmax or in logits; end it in keras.layers.Softmax() and "
        "save it again"
    )


def test_the_mean_of_two_softmaxes_is_no_logits(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    ends = [layers.Dense(5, activation="softmax")(layers.Flatten()(image)) for _ in range(2)]
    path = save(keras.Model(image, layers.Average()(ends)), tmp_path / "both.keras")
    assert f"{path} ends in Average" in error_of(lambda: load_path(path))


def test_a_model_for_any_size_is_fixed_at_one(tmp_path: Path) -> None:
    theirs = classifier(last=None, size=None)
    loaded = load_path(save(theirs, tmp_path / "any.keras"), input_size=8)
    assert loaded.model.input_shape == (None, 8, 8, 3)
    assert loaded.model.name == "tiny"
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(predict(theirs, TINY_IMAGES)))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), expected, atol=1e-6)


@pytest.mark.parametrize("nested", [False, True])
def test_an_adapted_normalization_keeps_its_statistics_at_a_fixed_size(nested: bool, tmp_path: Path) -> None:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(5).normal(3, 2, (4, 8, 8, 3)))
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3)(normalization(image))
    theirs: Any = randomise(keras.Model(image, layers.Dense(5, activation="softmax")(layers.GlobalMaxPooling2D()(x))))
    normalization.adapt(np.random.default_rng(5).normal(3, 2, (4, 8, 8, 3)))
    if nested:
        theirs = keras.Sequential([keras.Input((None, None, 3)), theirs])
    loaded = load_path(save(theirs, tmp_path / "mine.keras"), input_size=8)
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


def test_a_model_of_a_list_to_a_list(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    theirs = keras.Model([image], [layers.Dense(5, activation="softmax")(layers.Flatten()(image))])
    loaded = load_path(save(theirs, tmp_path / "lists.keras"))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)
    assert loaded.model(TINY_IMAGES).shape == (4, 5)


def test_a_model_of_fixed_batch(tmp_path: Path) -> None:
    image = keras.Input(batch_shape=(4, 8, 8, 3))
    theirs = keras.Model(image, layers.Dense(5, activation="softmax")(layers.Flatten()(image)))
    loaded = load_path(save(theirs, tmp_path / "batch.keras"))
    assert loaded.model.input_shape == (None, 8, 8, 3)
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_a_model_trained_in_mixed_precision_is_single_precision(dtype: str, tmp_path: Path) -> None:
    theirs = classifier(last=None, dtype=dtype)
    loaded = load_path(save(theirs, tmp_path / "mixed.keras"))
    assert loaded.model.dtype == loaded.model.output.dtype == "float32"
    same = classifier(last="softmax")
    same.set_weights(theirs.get_weights())
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(same, TINY_IMAGES), atol=1e-6)


def test_a_model_that_takes_bytes_takes_floats(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3), dtype="uint8")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    theirs = keras.Model(image, layers.Dense(5, activation="softmax")(x))
    loaded = load_path(save(theirs, tmp_path / "bytes.keras"))
    assert loaded.model.inputs[0].dtype == "float32"
    pixels = np.random.default_rng(4).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(predict(loaded.model, pixels.astype(np.float32)), predict(theirs, pixels), atol=1e-6)


# --- --model PATH: what is refused -------------------------------------------------------------------------------


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
    path = save(article_model(**SMALL), tmp_path / "article.keras")
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
    assert message == f"{path} takes images of any size: pass --input-size N, the size it was trained at"


def test_too_small_a_size_for_a_model_of_any_size(tmp_path: Path) -> None:
    path = save(classifier(size=None), tmp_path / "any.keras")
    assert error_of(lambda: load_path(path, input_size=2)).startswith(f"{path} cannot take 2x2 images (")


def test_another_size_than_the_model_s(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")
    message = error_of(lambda: load_path(path, input_size=16))
    assert message == f"--input-size 16 differs from the 8x8 that {path} takes: leave it out"


def test_grey_models_are_refused(tmp_path: Path) -> None:
    path = save(classifier(channels=1), tmp_path / "grey.keras")
    assert error_of(lambda: load_path(path)) == (
        f"{path} takes images of 1 channels, shape (8, 8, 1): only RGB, (height, width, 3), is supported"
    )


def test_one_class_is_no_classifier(tmp_path: Path) -> None:
    path = save(classifier(classes=1), tmp_path / "one.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} puts out 1 class: a classifier tells at least 2 apart"


def test_a_feature_extractor_is_no_classifier(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    path = save(keras.Model(image, layers.Conv2D(4, 3)(image)), tmp_path / "features.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} puts out shape (6, 6, 4): a classifier puts out one number a class, (classes,)"


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
