"""However a classifier ends, it answers what it did, by one of two heads; what is no classifier is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from scipy.special import expit

from convert.keras_models.heads import with_head
from convert.keras_models.loader import load
from convert.keras_models.sources import ModelSource
from convert.lowering.keras_comparison import keras_logits
from tests.convert.article import randomise
from tests.convert.keras_models.loading import classifier, error_of, load_path, predict, save

Tensor = Any
Body = Callable[[Tensor, int], Tensor]
IMAGES = np.random.default_rng(3).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)


def pooled(image: Tensor, keepdims: bool = False) -> Tensor:
    return layers.GlobalAveragePooling2D(keepdims=keepdims)(layers.Conv2D(6, 3, activation="relu")(image))


def dense(image: Tensor, units: int) -> Tensor:
    return layers.Dense(units, activation="sigmoid")(pooled(image))


def two_dense_layers(image: Tensor, units: int) -> Tensor:
    return layers.Dense(units, activation="sigmoid")(
        layers.Dropout(0.3)(layers.Dense(7, activation="relu")(pooled(image)))
    )


def activation_layer(image: Tensor, units: int) -> Tensor:
    return layers.Activation("sigmoid")(layers.Dropout(0.2)(layers.Dense(units)(pooled(image))))


def operation(image: Tensor, units: int) -> Tensor:
    return keras.ops.sigmoid(layers.Dense(units, use_bias=False)(pooled(image)))


def convolution_then_flatten(image: Tensor, units: int) -> Tensor:
    return layers.Flatten()(layers.Conv2D(units, 1, activation="sigmoid")(pooled(image, keepdims=True)))


def convolution_then_reshape(image: Tensor, units: int) -> Tensor:
    return layers.Reshape((units,))(layers.Activation("sigmoid")(layers.Conv2D(units, 8)(image)))


def convolution_alone(image: Tensor, units: int) -> Tensor:
    return layers.Conv2D(units, 8, activation="sigmoid")(image)


def pool_of_scores(image: Tensor, units: int) -> Tensor:
    return layers.Activation("sigmoid")(layers.GlobalAveragePooling2D()(layers.Conv2D(units, 3)(image)))


def batch_norm(image: Tensor, units: int) -> Tensor:
    return layers.Activation("sigmoid")(layers.BatchNormalization()(layers.Dense(units)(pooled(image))))


def nested(image: Tensor, units: int) -> Tensor:
    hidden, last = layers.Dense(4, activation="relu"), layers.Dense(units, activation="sigmoid")
    return keras.Sequential([keras.Input((6,)), hidden, last])(pooled(image))


def nested_logits(image: Tensor, units: int) -> Tensor:
    inside = keras.Sequential([keras.Input((6,)), layers.Dense(units), layers.Identity()])
    return layers.Identity()(layers.Activation("sigmoid")(inside(pooled(image))))


BODIES = [
    *(dense, two_dense_layers, activation_layer, operation, convolution_then_flatten, convolution_then_reshape),
    *(convolution_alone, pool_of_scores, batch_norm, nested, nested_logits),
]


def model_of(body: Body, units: int) -> keras.Model:
    image = keras.Input((8, 8, 3))
    return randomise(keras.Model(image, body(image, units), name="tiny"))


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_one_sigmoid_becomes_the_equal_softmax_over_two_classes(body: Body) -> None:
    theirs = model_of(body, 1)
    there = predict(theirs, IMAGES).reshape(-1, 1).astype(np.float64)
    found = with_head(theirs, "mine.keras")
    assert (found.head, found.model.output_shape, found.model.name) == ("binary", (None, 2), "tiny")
    np.testing.assert_allclose(predict(found.model, IMAGES), np.hstack([1 - there, there]), atol=3e-7)
    logits = keras_logits(found.model, IMAGES)
    np.testing.assert_allclose(logits[:, :1], -logits[:, 1:], atol=1e-6)
    np.testing.assert_allclose(logits[:, 1:] - logits[:, :1], np.log(there / (1 - there)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_several_sigmoids_stay_independent(body: Body) -> None:
    theirs = model_of(body, 3)
    there = predict(theirs, IMAGES).reshape(-1, 3)
    found = with_head(theirs, "mine.keras")
    assert (found.head, found.model.output_shape, found.model.name) == ("independent", (None, 3), "tiny")
    np.testing.assert_array_equal(predict(found.model, IMAGES), there)
    logits = keras_logits(found.model, IMAGES).astype(np.float64)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), there, atol=3e-7)


FEATURES = 3
LOGITS = st.floats(-80, 80, width=32)


@given(st.lists(LOGITS, min_size=FEATURES, max_size=FEATURES), LOGITS, st.lists(LOGITS, min_size=1, max_size=20))
@settings(max_examples=15)
def test_the_softmax_equals_the_sigmoid_for_all_weights_and_images(
    weights: list[float], bias: float, values: list[float]
) -> None:
    """Exact but for rounding, which with float32 logits is relative to the largest of their terms."""
    image = keras.Input((1, 1, FEATURES))
    layer = layers.Dense(1, activation="sigmoid")
    theirs = keras.Model(image, layer(layers.Flatten()(image)))
    layer.set_weights([np.float32(weights)[:, np.newaxis] / 80, np.float32([bias])])
    images = np.repeat(np.float32(values), FEATURES).reshape(-1, 1, 1, FEATURES)
    z = images.reshape(-1, FEATURES).astype(np.float64) @ (np.float64(weights) / 80) + bias
    expected = 1 / (1 + np.exp(-z))
    slack = 3e-6 * (1 + FEATURES * np.abs(values) + abs(bias))  # of z, and so relative to p and to 1 - p
    found = predict(with_head(theirs, "mine.keras").model, images).astype(np.float64)
    assert np.all(np.abs(found[:, 1] - expected) <= slack * expected * (1 - expected) + 3e-7 * expected + 1e-37)
    assert np.all(np.abs(found[:, 1] - predict(theirs, images)[:, 0]) <= slack * expected + 1e-37)


NAMES = ("image", "probabilities", "flat", "two_classes")


@pytest.mark.parametrize(
    ("activation", "units"), [("softmax", 3), ("linear", 3), ("sigmoid", 3), ("linear", 1), ("sigmoid", 1)]
)
@pytest.mark.parametrize("turn", range(len(NAMES)))
def test_layers_may_have_any_names(activation: str, units: int, turn: int) -> None:
    """Also those that are given to what is added: Keras takes each name once."""
    first, second, third, fourth = NAMES[turn:] + NAMES[:turn]
    image = keras.Input((8, 8, 3), name=first)
    x = layers.Conv2D(units, 8, name=second)(image)
    x = layers.Activation(activation, name=third)(layers.BatchNormalization(name=fourth)(x))
    theirs = randomise(keras.Model(image, x, name="probabilities"))
    answers = predict(theirs, IMAGES).reshape(len(IMAGES), -1)
    if activation == "linear":
        answers = np.exp(answers) / np.exp(answers).sum(axis=1, keepdims=True) if units == 3 else expit(answers)
    expected = answers if units == 3 else np.hstack([1 - answers, answers])
    found = with_head(theirs, "mine.keras", labels=2)
    np.testing.assert_allclose(predict(found.model, IMAGES), expected, atol=1e-6)


@pytest.mark.parametrize("last", [layers.GaussianNoise(0.3), layers.ActivityRegularization(0.1)])
def test_what_acts_in_training_only_may_come_last(last: Any) -> None:
    image = keras.Input((8, 8, 3))
    theirs = randomise(keras.Model(image, last(layers.Dense(3, activation="softmax")(pooled(image)))))
    found = with_head(theirs, "mine.keras")
    np.testing.assert_array_equal(predict(found.model, IMAGES), predict(theirs, IMAGES))


def test_weights_of_the_user_s_model_stay_as_they_are() -> None:
    theirs = model_of(dense, 1)
    before = [value.copy() for value in theirs.get_weights()]
    with_head(theirs, "mine.keras")
    assert all(np.array_equal(a, b) for a, b in zip(before, theirs.get_weights(), strict=True))


def test_a_log_softmax_is_a_softmax_of_its_logits(tmp_path: Path) -> None:
    theirs = classifier("log_softmax")
    loaded = load_path(save(theirs, tmp_path / "mine.keras"))
    np.testing.assert_allclose(predict(loaded.model, IMAGES), np.exp(predict(theirs, IMAGES)), atol=1e-6)
    assert loaded.head == "softmax"


def test_a_softmax_of_a_convolution_alone() -> None:
    theirs = model_of(lambda image, units: layers.Conv2D(units, 8, activation="softmax")(image), 5)
    found = with_head(theirs, "mine.keras")
    assert (found.head, found.model.output_shape) == ("softmax", (None, 5))
    np.testing.assert_array_equal(predict(found.model, IMAGES), predict(theirs, IMAGES)[:, 0, 0])


@pytest.mark.parametrize("units", [1, 3])
def test_loading_a_file_tells_its_head(units: int, tmp_path: Path) -> None:
    loaded = load_path(save(classifier("sigmoid", classes=units), tmp_path / "mine.keras"))
    assert loaded.head == {1: "binary", 3: "independent"}[units]


@pytest.mark.parametrize("last", ["relu", "tanh", "hard_sigmoid"])
def test_another_end_is_refused(last: str, tmp_path: Path) -> None:
    path = save(classifier(last), tmp_path / "mine.keras")
    assert error_of(lambda: load_path(path)) == (
        f"{path} ends in {last}: a classifier ends in a softmax, in sigmoids or in logits; pass the network with the "
        "end that it was trained with"
    )


def test_one_linear_unit_is_a_regression_or_a_logit(tmp_path: Path) -> None:
    path = save(classifier(None, classes=1), tmp_path / "mine.keras")
    assert error_of(lambda: load_path(path)) == (
        f"{path} ends in one linear unit, which is a regression or the logit of two classes: if it is that logit, "
        "pass --labels FILE with two names, the second for positive values"
    )


def test_one_linear_unit_with_two_labels_is_their_logit(tmp_path: Path) -> None:
    model = classifier(None, classes=1)
    path = save(model, tmp_path / "mine.keras")
    loaded = load(ModelSource(str(path), labels=2))
    images = np.random.default_rng(0).normal(size=(4, *model.input_shape[1:])).astype(np.float32)
    positive = 1 / (1 + np.exp(-np.asarray(model(images), np.float64)))
    np.testing.assert_allclose(np.asarray(loaded.model(images)), np.hstack([1 - positive, positive]), atol=1e-6)
    assert loaded.head == "binary"


@pytest.mark.parametrize(
    ("end", "named"),
    [
        (lambda x: layers.UnitNormalization()(layers.Dense(16)(layers.Flatten()(x))), "UnitNormalization"),
        (lambda x: keras.ops.normalize(layers.Dense(16)(layers.Flatten()(x))), "Normalize"),
        (lambda x: layers.LayerNormalization()(pooled(x)), "LayerNormalization"),
        (pooled, "GlobalAveragePooling2D of relu"),
        (lambda x: layers.GlobalMaxPooling2D()(layers.ReLU()(x)), "GlobalMaxPooling2D of ReLU"),
    ],
    ids=["unit", "operation", "layer", "pool", "pool of a layer"],
)
def test_an_embedding_is_refused_by_name(end: Callable[[Tensor], Tensor], named: str) -> None:
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, end(image))
    assert error_of(lambda: with_head(model, "mine.keras")) == (
        f"mine.keras ends in {named}, so its {model.output_shape[-1]} outputs are an embedding and not classes: pass "
        "the network with the classifier that was trained on them"
    )


def test_the_mean_of_two_softmaxes_is_no_logits(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    ends = [layers.Dense(5, activation="softmax")(layers.Flatten()(image)) for _ in range(2)]
    path = save(keras.Model(image, layers.Average()(ends)), tmp_path / "both.keras")
    assert f"{path} ends in Average" in error_of(lambda: load_path(path))


def test_a_softmax_over_another_axis_is_no_answer() -> None:
    model = model_of(lambda image, units: layers.Softmax(axis=1)(layers.Conv2D(units, 8)(image)), 4)
    assert "mine.keras ends in Softmax over axis 1: " in error_of(lambda: with_head(model, "mine.keras"))


def test_the_average_over_places_of_a_softmax_is_not_taken_for_logits() -> None:
    model = model_of(lambda x, n: layers.GlobalAveragePooling2D()(layers.Conv2D(n, 3, activation="softmax")(x)), 4)
    assert "ends in GlobalAveragePooling2D of softmax" in error_of(lambda: with_head(model, "mine.keras"))
