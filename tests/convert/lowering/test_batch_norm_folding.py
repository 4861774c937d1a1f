"""Folded networks answer as before, to float32 rounding, and keep the batch-normalizations that cannot be folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from keras import layers

from convert.lowering.batch_norm_folding import FoldedBatchNormalization, fold_batch_norms
from tests.convert.article import article_model, randomise

Tensor = Any
IMAGES = np.random.default_rng(0).normal(0, 2, (3, 9, 8, 3)).astype(np.float32)


def randomised(model: keras.Model) -> keras.Model:
    """Every weight something else than its initial value, scale and variance positive."""
    random = np.random.default_rng(1)
    for weight in model.weights:
        positive = weight.name in ("gamma", "moving_variance")
        weight.assign(random.uniform(0.3, 2, weight.shape) if positive else random.normal(0, 0.5, weight.shape))
    return model


def network(body: Callable[[Tensor], Tensor]) -> keras.Model:
    image = keras.Input((9, 8, 3))
    return randomised(keras.Model(image, body(image)))


def count(model: keras.Model, kind: type) -> int:
    """Layers of a kind, in nested models too."""
    return sum(count(layer, kind) if isinstance(layer, keras.Model) else type(layer) is kind for layer in model.layers)


def assert_same_answers(folded: keras.Model, model: keras.Model) -> None:
    wanted = model.predict_on_batch(IMAGES)
    assert np.abs(wanted).max() > 0.1, "nothing to compare"
    assert np.allclose(folded.predict_on_batch(IMAGES), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def conv_bn(**options: Any) -> Callable[[Tensor], Tensor]:
    conv = {key: value for key, value in options.items() if key in ("use_bias", "strides", "padding", "groups")}
    norm = {key: value for key, value in options.items() if key in ("scale", "center", "epsilon", "axis")}
    return lambda x: layers.BatchNormalization(**norm)(layers.Conv2D(6, 3, **conv)(x))


def depthwise_bn(multiplier: int, use_bias: bool = True) -> Callable[[Tensor], Tensor]:
    return lambda x: layers.BatchNormalization()(
        layers.DepthwiseConv2D(3, depth_multiplier=multiplier, use_bias=use_bias)(x)
    )


FOLDED: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": conv_bn(),
    "no bias": conv_bn(use_bias=False),
    "no scale": conv_bn(scale=False),
    "no center": conv_bn(center=False),
    "neither, nor bias": conv_bn(scale=False, center=False, use_bias=False),
    "large epsilon": conv_bn(epsilon=0.5),
    "axis counted from the front": conv_bn(axis=3),
    "padded and strided": conv_bn(padding="same", strides=2),
    "groups": conv_bn(groups=3),
    "depthwise": depthwise_bn(1),
    "depthwise without bias": depthwise_bn(1, use_bias=False),
    "depthwise with a multiplier": depthwise_bn(4),
}


@pytest.mark.parametrize("name", FOLDED)
def test_batch_norms_after_convolutions_are_folded(name: str) -> None:
    model = network(FOLDED[name])
    folded = fold_batch_norms(model)
    assert count(folded, layers.BatchNormalization) == 0
    assert count(folded, FoldedBatchNormalization) == 1
    assert_same_answers(folded, model)
    convolution = next(layer for layer in folded.layers if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)))
    assert convolution.use_bias


def shared_convolution(x: Tensor) -> Tensor:
    shared = layers.Conv2D(6, 3)
    first, second = layers.BatchNormalization()(shared(x)), layers.BatchNormalization()(shared(-x))
    return layers.Concatenate()([first, second])


def shared_batch_norm(x: Tensor) -> Tensor:
    shared = layers.BatchNormalization()
    return layers.Add()([shared(layers.Conv2D(6, 3)(x)), shared(layers.Conv2D(6, 3)(x))])


def shared_pair(x: Tensor) -> Tensor:
    convolution, norm = layers.Conv2D(6, 3), layers.BatchNormalization()
    return layers.Add()([norm(convolution(x)), norm(convolution(2 * x))])


def read_twice(x: Tensor) -> Tensor:
    x = layers.Conv2D(6, 3)(x)
    return layers.Add()([x, layers.BatchNormalization()(x)])


def another_axis(x: Tensor) -> Tensor:
    return layers.BatchNormalization(axis=1)(layers.Conv2D(6, 3)(x))


NOT_FOLDED: dict[str, Callable[[Tensor], Tensor]] = {
    "before the first convolution": lambda x: layers.Conv2D(6, 3)(layers.BatchNormalization()(x)),
    "after an activation": lambda x: layers.BatchNormalization()(layers.Conv2D(6, 3, activation="relu")(x)),
    "after a pool": lambda x: layers.BatchNormalization()(layers.MaxPooling2D()(layers.Conv2D(6, 3)(x))),
    "after a dense layer": lambda x: layers.BatchNormalization()(layers.Dense(6)(layers.Flatten()(x))),
    "the convolution is shared": shared_convolution,
    "the batch-normalization is shared": shared_batch_norm,
    "both are shared": shared_pair,
    "the convolution is read by others": read_twice,
    "over another axis": another_axis,
    "after a transposed convolution": lambda x: layers.BatchNormalization()(layers.Conv2DTranspose(6, 3)(x)),
    "after a separable convolution": lambda x: layers.BatchNormalization()(layers.SeparableConv2D(6, 3)(x)),
    "a layer-normalization": lambda x: layers.LayerNormalization()(layers.Conv2D(6, 3)(x)),
}


@pytest.mark.parametrize("name", NOT_FOLDED)
def test_other_normalizations_stay(name: str) -> None:
    model = network(NOT_FOLDED[name])
    folded = fold_batch_norms(model)
    assert count(folded, FoldedBatchNormalization) == 0
    assert count(folded, layers.BatchNormalization) == count(model, layers.BatchNormalization)
    assert_same_answers(folded, model)


def test_channels_first_is_left_alone() -> None:
    """Its axis 3 is the width. (TensorFlow runs such convolutions on accelerators only, so none is run here.)"""
    image = keras.Input((6, 9, 6))
    model = keras.Model(image, layers.BatchNormalization()(layers.Conv2D(4, 3, data_format="channels_first")(image)))
    assert count(fold_batch_norms(model), layers.BatchNormalization) == 1


def test_nested_models_are_folded_and_their_layers_keep_their_names() -> None:
    inside = keras.Sequential([keras.Input((9, 8, 3)), layers.Conv2D(6, 3, name="conv"), layers.BatchNormalization()])
    image = keras.Input((9, 8, 3))
    functional = keras.Model(image, conv_bn()(layers.ReLU()(inside(image))), name="backbone")
    model = randomised(keras.Sequential([keras.Input((9, 8, 3)), functional, layers.Conv2D(4, 3)]))
    folded = fold_batch_norms(model)
    assert count(folded, layers.BatchNormalization) == 0
    assert count(folded, FoldedBatchNormalization) == 2
    assert_same_answers(folded, model)
    assert [layer.name for layer in folded.layers] == [layer.name for layer in model.layers]


def test_a_nested_model_used_twice_is_folded_once() -> None:
    image = keras.Input((9, 8, 3))
    branch = keras.Model(image, conv_bn()(image))
    image = keras.Input((9, 8, 3))
    model = randomised(keras.Model(image, layers.Add()([branch(image), branch(-image)])))
    assert_same_answers(fold_batch_norms(model), model)


def test_a_frozen_backbone_and_augmentation_run_as_at_inference() -> None:
    """The usual way to fine-tune: augmentation, then `backbone(x, training=False)`."""
    image = keras.Input((9, 8, 3))
    backbone = keras.Model(image, conv_bn()(image))
    image = keras.Input((9, 8, 3))
    x = layers.RandomRotation(0.2)(layers.RandomFlip()(image))
    model = randomised(keras.Model(image, layers.Dropout(0.5)(backbone(x, training=False))))
    folded = fold_batch_norms(model)
    assert count(folded, layers.BatchNormalization) == 0
    assert_same_answers(folded, model)


def test_a_normalization_layer_keeps_what_it_was_adapted_to() -> None:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(3).normal((5, -2, 3), (1, 2, 4), (50, 9, 8, 3)).astype(np.float32))
    image = keras.Input((9, 8, 3))
    model = keras.Model(image, conv_bn()(layers.Rescaling(0.5, offset=(1, 2, 3))(normalization(image))))
    assert_same_answers(fold_batch_norms(model), model)


def test_operations_that_are_no_layers_stay() -> None:
    def body(x: Tensor) -> Tensor:
        return keras.ops.relu(conv_bn()(x) * 0.5 + 3.0) / 6.0

    model = network(body)
    folded = fold_batch_norms(model)
    assert count(folded, FoldedBatchNormalization) == 1
    assert_same_answers(folded, model)


def test_the_source_is_not_changed() -> None:
    model = network(conv_bn())
    before = [value.copy() for value in model.get_weights()]
    fold_batch_norms(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_kernels_that_cancel_large_statistics_lose_nothing() -> None:
    """Mean and bias of 1,000 that cancel: computed in float32 throughout, digits would be gone."""
    model = network(conv_bn())
    convolution, norm = model.layers[1:]
    convolution.set_weights([convolution.get_weights()[0], np.full(6, 1000.125, np.float32)])
    norm.moving_mean.assign(np.full(6, 1000, np.float32))
    norm.moving_variance.assign(np.full(6, 1e-8, np.float32))
    bias = fold_batch_norms(model).layers[1].get_weights()[1]
    gamma, beta, mean, variance = (np.float64(value) for value in norm.get_weights())
    assert np.allclose(bias, beta + gamma * (1000.125 - mean) / np.sqrt(variance + norm.epsilon), rtol=1e-6)


def test_every_batch_norm_of_the_network_is_folded() -> None:
    """The article's, with its plain layers."""
    model = randomise(article_model(75, 10, (1, 1, 1), 0.125, plain=True))
    folded = fold_batch_norms(model)
    assert count(folded, layers.BatchNormalization) == 0
    images = np.random.default_rng(2).uniform(-1, 1, (2, 75, 75, 3)).astype(np.float32)
    wanted: npt.NDArray[Any] = model.predict_on_batch(images)
    assert np.allclose(folded.predict_on_batch(images), wanted, atol=1e-5)
