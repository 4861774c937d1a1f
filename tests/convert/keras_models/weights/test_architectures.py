"""Weights files of keras.applications' network: recognised, and filled into the same function."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from convert.keras_models.inception_resnet_v2 import unit_names
from convert.keras_models.weights import architectures
from tests.convert.article import randomise
from tests.convert.keras_models.loading import IMAGES, error_of, our_network, predict
from tests.convert.keras_models.weights.in_little import SIZE, WHOLE, assert_same, load, stand_in, use, whole, with_head
from tests.convert.keras_models.weights.keras_2_layout import (
    write_keras_2,
    write_keras_2_checkpoint,
)


@pytest.mark.usefixtures("in_full")
def test_with_top_as_keras_3_saves_it(path: Path) -> None:
    model = with_head((5,), whole, name="predictions")
    expected = predict(model)
    model.save_weights(path)
    loaded = load(path)
    assert loaded.recognized == (
        "mine.weights.h5: weights of keras.applications' InceptionResNetV2 with top, saved by Keras, 5 classes; "
        "activation softmax assumed: weights do not tell"
    )
    assert (loaded.architecture, loaded.labels) == ("keras.applications InceptionResNetV2", None)
    assert_same(loaded, expected)


@pytest.mark.usefixtures("in_little")
def test_what_the_user_says_is_held_against_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "inception_resnet_v2", lambda shape, classes: our_network(classes))
    model = with_head((5,))
    model.save_weights(path)
    message = error_of(lambda: load(path, classes=7))
    assert message == f"--classes 7 contradicts {path}, which has 5 classes: leave --classes out"
    assert_same(load(path, classes=5, architecture="keras-applications"), predict(model))
    message = error_of(lambda: load(path, architecture="article"))
    assert message.startswith(
        f"{path} holds 7 convolutions, the article's network has {len(unit_names(our_network()))} (none is left for "
    )
    assert message.endswith(f"): if it is another network, {WHOLE}")


@pytest.mark.usefixtures("in_little")
def test_a_nested_model_and_two_dense_layers_as_keras_3_saves_them(path: Path) -> None:
    model = with_head((8, 1), nested=True)
    model.save_weights(path)
    loaded = load(path, classes=2)
    assert loaded.recognized.endswith(
        "with a head of 2 dense layers, saved by Keras, one unit, for two classes; average pooling, hidden activation "
        "relu, activation sigmoid assumed: weights do not tell"
    )
    assert_same(loaded, predict(model))
    assert "contradicts" in error_of(lambda: load(path, classes=3))


@pytest.mark.usefixtures("in_little")
def test_a_model_class_of_ones_own_as_keras_3_saves_it(path: Path) -> None:
    class Mine(keras.Model):  # type: ignore[misc]
        def __init__(self, base: keras.Model) -> None:
            super().__init__()
            self.base, self.pool = base, layers.GlobalAveragePooling2D()
            self.a_hidden, self.out = layers.Dense(8, activation="relu"), layers.Dense(5, activation="softmax")

        def call(self, images: Any, training: bool = False) -> Any:
            return self.out(self.a_hidden(self.pool(self.base(images, training=training))))

    model = Mine(stand_in())
    predict(model)
    randomise(model).save_weights(path)
    assert_same(load(path), predict(model))


@pytest.mark.usefixtures("in_little")
@pytest.mark.parametrize("flatten", [False, True])
def test_without_names_the_order_tells(path: Path, flatten: bool) -> None:
    model = with_head((5,), flatten=flatten)
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
        file.move("layers", "_layer_checkpoint_dependencies")
    loaded = load(path, architecture="keras-applications")
    assert f"{'flattening' if flatten else 'average pooling'}, activation softmax assumed" in loaded.recognized
    assert_same(loaded, predict(model))


@pytest.mark.usefixtures("in_little")
@pytest.mark.parametrize("frozen", [0, 4])
def test_a_nested_model_as_keras_2_saves_it(path: Path, frozen: int) -> None:
    model = with_head((5,))
    write_keras_2(model, path, nested="inception_resnet_v2", frozen=frozen)
    loaded = load(path)
    assert "with a head of one dense layer, saved by Keras 2.4.0, 5 classes" in loaded.recognized
    assert_same(loaded, predict(model))


def test_weights_of_a_network_of_grey_images(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, functools.partial(stand_in, 1))
    model = with_head((5,), functools.partial(stand_in, 1))
    model.save_weights(path)
    loaded = load(path)
    assert loaded.model.input_shape == (None, SIZE, SIZE, 1)
    np.testing.assert_allclose(predict(loaded.model, IMAGES[..., :1]), predict(model, IMAGES[..., :1]), atol=1e-6)


@pytest.mark.usefixtures("in_little")
def test_names_go_before_the_order(path: Path) -> None:
    model = with_head((5,))
    write_keras_2(model, path)
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = file.attrs["layer_names"][::-1]
    assert_same(load(path), predict(model))


@pytest.mark.usefixtures("in_little")
def test_layers_that_were_renamed_are_matched_by_order_unless_a_group_mixes_them(path: Path) -> None:
    model = with_head((5,))
    write_keras_2(model, path, renamed="left_")
    assert_same(load(path, architecture="keras-applications"), predict(model))
    write_keras_2(model, path, nested="left", frozen=4, renamed="left_")
    assert error_of(lambda: load(path, architecture="keras-applications")) == (
        f"{path} holds a model within a model whose convolutions have names of their own, and their order does not "
        f"tell which is which: {WHOLE}"
    )


@pytest.mark.usefixtures("in_little")
def test_a_checkpoint_as_keras_2_saves_it(tmp_path: Path) -> None:
    model = with_head((8, 5))
    write_keras_2_checkpoint(model, tmp_path / "mine.ckpt")
    loaded = load(tmp_path / "mine.ckpt", architecture="keras-applications")
    assert loaded.recognized.startswith("mine.ckpt.index: weights of keras.applications' InceptionResNetV2 with a head")
    assert_same(loaded, predict(model))


@pytest.mark.usefixtures("in_little")
def test_the_state_of_an_optimizer_is_no_layer(path: Path) -> None:
    model = with_head((8, 5))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(IMAGES, np.array([0, 1, 2]), verbose=0)
    model.save_weights(path)
    with h5py.File(path) as file:
        assert len(file["optimizer/vars"]) > 20
    assert_same(load(path), predict(model))
