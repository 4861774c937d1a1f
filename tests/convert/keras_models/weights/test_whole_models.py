"""Whole models given as weights: taken as such where nothing is lost, else sent to --model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers

from tests.convert.article import randomise
from tests.convert.keras_models.loading import error_of, predict
from tests.convert.keras_models.weights.in_little import SIZE, assert_same, load, stand_in, with_head


def ending(build: Callable[[Any], Any], front: Callable[[Any], Any] = lambda image: image) -> keras.Model:
    """A whole model of Keras' own layers with a front and an end."""
    base, image = stand_in(), keras.Input((SIZE, SIZE, 3))
    return randomise(keras.Model(image, build(base(front(image)))))


def softmax_head(x: Any, pool: Any = layers.GlobalAveragePooling2D, hidden: str | None = "relu") -> Any:
    return layers.Dense(5, "softmax")(layers.Dropout(0.1)(layers.Dense(8, hidden, name="hid")(pool()(x))))


@pytest.mark.usefixtures("in_little")
@pytest.mark.parametrize(
    ("model", "difference"),
    [
        (lambda: ending(lambda x: layers.Dense(5, "sigmoid")(layers.GlobalAveragePooling2D()(x))), "ends in sigmoid"),
        (lambda: ending(softmax_head, layers.Rescaling(1 / 255, name="front")), "has a Rescaling layer front"),
        (
            lambda: ending(lambda x: softmax_head(x, lambda: layers.GlobalMaxPooling2D(name="pool"))),
            "has a GlobalMaxPooling2D layer pool",
        ),
        (lambda: ending(lambda x: softmax_head(x, hidden="tanh")), "has tanh in its layer hid"),
        (lambda: ending(lambda x: softmax_head(x, hidden=None)), "has no activation in its layer hid"),
    ],
    ids=["sigmoids", "Rescaling", "pool", "tanh", "linear"],
)
def test_a_whole_model_that_is_another_is_sent_to_model(
    model: Callable[[], keras.Model], difference: str, tmp_path: Path
) -> None:
    path = tmp_path / "whole.h5"
    model().save(path)
    assert error_of(lambda: load(path)) == f"{path} is a whole model that {difference}: pass it as --model {path}"


@pytest.mark.usefixtures("in_little")
def test_a_whole_model_that_is_what_is_assumed_goes_on_as_weights(tmp_path: Path) -> None:
    path, model = tmp_path / "whole.h5", with_head((8, 5))
    model.save(path)
    assert_same(load(path), predict(model))


@pytest.mark.usefixtures("in_little")
def test_a_whole_model_with_classes_of_its_own_goes_on_as_weights(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("mine")
    class Mine(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    path, base = tmp_path / "whole.h5", stand_in()
    x = layers.Dense(5, "softmax")(layers.GlobalAveragePooling2D()(Mine()(base.output)))
    model = randomise(keras.Model(base.input, x))
    model.save(path)
    assert_same(load(path), predict(model))
