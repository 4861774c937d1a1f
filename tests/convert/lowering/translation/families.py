"""Small classifiers built like each of the families of keras.applications, with the layers that are theirs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from keras.src.applications.convnext import LayerScale, StochasticDepth

from edge_runtime import InputSpec

Tensor = Any
SIZE = 32
SPEC = InputSpec(SIZE, SIZE, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
CLASSES = 7


def unit(
    x: Tensor, filters: int, kernel: int = 3, strides: int = 1, activation: Any = "relu", **options: Any
) -> Tensor:
    """Convolution, batch-normalization and activation."""
    x = layers.Conv2D(filters, kernel, strides, use_bias=False, **{"padding": "same", **options})(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x


def depthwise(x: Tensor, strides: int = 1, activation: Any = "relu", **options: Any) -> Tensor:
    x = layers.DepthwiseConv2D(3, strides, use_bias=False, **{"padding": "same", **options})(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x


def classified(x: Tensor) -> Tensor:
    return layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def vgg(x: Tensor) -> Tensor:
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(24, activation="relu")(layers.Flatten()(x))
    return layers.Dense(CLASSES, activation="softmax")(layers.Dropout(0.5)(x))


def resnet(x: Tensor) -> Tensor:
    x = unit(layers.ZeroPadding2D(3)(x), 16, 7, 2, padding="valid")
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for _ in range(2):
        x = layers.ReLU()(layers.Add()([x, unit(unit(x, 8), 16, activation=None)]))
    return classified(x)


def resnet_v2(x: Tensor) -> Tensor:
    x = layers.Conv2D(16, 7, 2)(layers.ZeroPadding2D(3)(x))
    for strides in (1, 2):
        before = layers.ReLU()(layers.BatchNormalization()(x))
        branch = layers.ZeroPadding2D(1)(unit(before, 8, 1))
        branch = layers.Conv2D(16, 1)(unit(branch, 8, 3, strides, padding="valid"))
        x = layers.Add()([layers.MaxPooling2D(1, strides)(x) if strides > 1 else x, branch])
    return classified(layers.ReLU()(layers.BatchNormalization()(x)))


def dense_net(x: Tensor) -> Tensor:
    x = unit(layers.ZeroPadding2D(3)(x), 12, 7, 2, padding="valid")
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.Conv2D(6, 3, padding="same", use_bias=False)(unit(y, 12, 1))
        x = layers.Concatenate()([x, y])
    x = layers.AveragePooling2D(2)(layers.Conv2D(12, 1)(layers.ReLU()(layers.BatchNormalization()(x))))
    return classified(layers.ReLU()(layers.BatchNormalization()(x)))


def inception(x: Tensor) -> Tensor:
    x = unit(x, 12, 3, 2, padding="valid")
    branches = [unit(x, 6, 1), unit(unit(x, 6, (1, 7)), 8, (7, 1))]
    x = layers.Concatenate()([*branches, unit(layers.AveragePooling2D(3, 1, padding="same")(x), 6, 1)])
    return classified(x)


def xception(x: Tensor) -> Tensor:
    x = unit(x, 12, 3, 2, padding="valid")
    rest = unit(x, 16, 1, 2, activation=None)
    x = layers.BatchNormalization()(layers.SeparableConv2D(16, 3, padding="same", use_bias=False)(x))
    x = layers.BatchNormalization()(layers.SeparableConv2D(16, 3, padding="same", use_bias=False)(layers.ReLU()(x)))
    return classified(layers.Add()([layers.MaxPooling2D(3, 2, padding="same")(x), rest]))


def mobile_net(x: Tensor) -> Tensor:
    x = unit(x, 12, 3, 2, activation="relu6")
    x = depthwise(layers.ZeroPadding2D(((0, 1), (0, 1)))(x), 2, "relu6", padding="valid")
    x = layers.GlobalAveragePooling2D(keepdims=True)(unit(x, 24, 1, activation="relu6"))
    x = layers.Conv2D(CLASSES, 1)(layers.Dropout(0.1)(x))
    return layers.Activation("softmax")(layers.Reshape((CLASSES,))(x))


def mobile_net_v2(x: Tensor) -> Tensor:
    x = unit(x, 8, 3, 2, activation="relu6")
    for _ in range(2):
        branch = depthwise(unit(x, 24, 1, activation="relu6"), activation="relu6")
        x = layers.Add()([x, unit(branch, 8, 1, activation=None)])
    return classified(unit(x, 24, 1, activation="relu6"))


def mobile_net_v3(x: Tensor) -> Tensor:
    x = unit(layers.Rescaling(0.5, 0.1)(x), 8, 3, 2, activation="hard_swish")
    for activation in ("relu", "hard_swish"):
        branch = depthwise(unit(x, 24, 1, activation=activation), activation=activation)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(branch)
        gate = layers.Conv2D(24, 1)(layers.ReLU()(layers.Conv2D(8, 1)(gate)))
        branch = layers.Multiply()([branch, layers.ReLU(6.0)(gate + 3.0) * (1.0 / 6.0)])
        x = layers.Add()([x, unit(branch, 8, 1, activation=None)])
    x = layers.GlobalAveragePooling2D(keepdims=True)(unit(x, 24, 1, activation="hard_swish"))
    x = layers.Activation("hard_swish")(layers.Conv2D(32, 1)(x))
    return layers.Activation("softmax")(layers.Flatten()(layers.Conv2D(CLASSES, 1)(x)))


def efficient_net(x: Tensor) -> Tensor:
    x = layers.Normalization(mean=[0.1, 0, -0.1], variance=[0.5, 1, 2])(layers.Rescaling(0.5)(x))
    x = unit(layers.ZeroPadding2D(((0, 1), (0, 1)))(x), 8, 3, 2, activation="swish", padding="valid")
    for _ in range(2):
        branch = depthwise(unit(x, 24, 1, activation="swish"), activation="swish")
        gate = layers.Reshape((1, 1, 24))(layers.GlobalAveragePooling2D()(branch))
        gate = layers.Conv2D(24, 1, activation="sigmoid")(layers.Conv2D(6, 1, activation="swish")(gate))
        x = layers.Add()([x, layers.Dropout(0.2)(unit(layers.Multiply()([branch, gate]), 8, 1, activation=None))])
    return classified(unit(x, 24, 1, activation="swish"))


def nas_net(x: Tensor) -> Tensor:
    x = unit(x, 8, 3, 2, padding="valid", activation=None)
    left = layers.ReLU()(x)
    other = layers.Cropping2D(((1, 0), (1, 0)))(layers.ZeroPadding2D(((0, 1), (0, 1)))(left))
    halves = [layers.Conv2D(4, 1)(layers.AveragePooling2D(1, 2)(y)) for y in (left, other)]
    p = layers.BatchNormalization()(layers.Concatenate()(halves))
    padded = layers.ZeroPadding2D(((2, 2), (2, 2)))(layers.ReLU()(x))
    y = layers.BatchNormalization()(layers.SeparableConv2D(8, 5, 2, use_bias=False)(padded))
    return classified(layers.ReLU()(layers.Concatenate()([layers.Add()([p, y]), p])))


def conv_next(x: Tensor) -> Tensor:
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(16, 4, 4)(x))
    for _ in range(2):
        y = layers.Conv2D(16, 7, padding="same", groups=16)(x)
        y = layers.Dense(32)(layers.LayerNormalization(epsilon=1e-6)(y))
        y = layers.Dense(16)(layers.Activation("gelu")(y))
        x = layers.Add()([x, StochasticDepth(0.1)(LayerScale(0.2, 16)(y))])
    x = layers.LayerNormalization(epsilon=1e-6)(layers.GlobalAveragePooling2D()(x))
    return layers.Dense(CLASSES, activation="softmax")(x)


def others(x: Tensor) -> Tensor:
    """Layers that people add: groups, other activations, sums of several, resized images."""
    x = layers.Resizing(24, 24)(x)
    x = unit(x, 12, groups=3, activation="gelu")
    parts = [layers.Conv2D(8, 3, activation=kind)(x) for kind in ("tanh", "elu", "hard_sigmoid", "leaky_relu")]
    x = layers.Concatenate()([layers.Average()(parts), layers.Maximum()(parts[:2]), layers.Subtract()(parts[:2])])
    x = layers.PReLU(shared_axes=[1, 2])(layers.UpSampling2D(2)(layers.MaxPooling2D()(x)))
    x = layers.ReLU(4.0)(layers.Conv2D(16, 3)(layers.CenterCrop(20, 20)(x)))
    x = ops.concatenate([layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x)], axis=-1)
    return layers.Dense(CLASSES, activation="softmax")(layers.BatchNormalization()(layers.Dense(12)(x)))


FAMILIES: dict[str, Callable[[Tensor], Tensor]] = {
    function.__name__: function
    for function in (
        vgg, resnet, resnet_v2, dense_net, inception, xception, mobile_net, mobile_net_v2, mobile_net_v3,
        efficient_net, nas_net, conv_next, others,
    )
}  # fmt: skip


CERTAINTY = {"xception": 0.3}
"""By how much the last weights exceed He's, so that answers are neither alike nor beyond doubt; 3 for others."""


@functools.cache
def family(name: str) -> keras.Model:
    """A network of a family with random weights whose activations are of order 1; not to be changed."""
    image = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(image, FAMILIES[name](image), name=name)
    random = np.random.default_rng(6)
    for weight in model.weights:
        if weight.name == "kernel" or weight.name.endswith("_kernel"):
            fan_in = np.prod(weight.shape[:-1]) if weight.name != "depthwise_kernel" else 9
            weight.assign(random.normal(0, np.sqrt(2 / fan_in), weight.shape))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.6, 1.4, weight.shape))
        elif weight.name in ("bias", "beta", "moving_mean", "alpha"):
            weight.assign(random.normal(0, 0.2, weight.shape))
    head = next(layer for layer in reversed(model.layers) if layer.weights)
    head.kernel.assign(CERTAINTY.get(name, 3.0) * head.kernel)
    return model
