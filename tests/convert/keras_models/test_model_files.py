"""Whole Keras models that are loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tests.convert.article import randomise
from tests.convert.keras_models.loading import classifier, load_path, predict, save

TINY_IMAGES = np.random.default_rng(3).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_load_a_model(suffix: str, tmp_path: Path) -> None:
    theirs = classifier()
    path = save(theirs, tmp_path / f"mine{suffix}")
    loaded = load_path(path)
    assert (loaded.architecture, loaded.labels) == ("tiny", None)
    assert loaded.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_lora_added_is_a_part_of_the_weights(suffix: str, tmp_path: Path) -> None:
    """A low-rank adaptation, as people fine-tune, of a convolution and of the head."""
    theirs = classifier()
    noise = np.random.default_rng(7)
    for layer in theirs.layers:
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(2)
            layer.lora_kernel_b.assign(noise.normal(size=layer.lora_kernel_b.shape))
    expected = predict(theirs, TINY_IMAGES)
    loaded = load_path(save(theirs, tmp_path / f"tuned{suffix}"))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), expected, atol=1e-5)
    assert [len(layer.get_weights()) for layer in loaded.model.layers if hasattr(layer, "kernel")] == [2, 2]


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


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_operations_and_preprocessing_layers_of_keras(suffix: str, tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(layers.RandomFlip()(image))
    x = layers.Subtract()([x, (x / 2.0)[..., ::-1] - 1.0])
    x = keras.ops.relu(layers.Conv2D(4, 3, kernel_regularizer="l2", kernel_constraint="max_norm")(x)) + 1.0
    theirs = keras.Model(image, keras.ops.softmax(layers.Dense(5)(layers.Flatten()(x))))
    loaded = load_path(save(theirs, tmp_path / f"ops{suffix}"))
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
