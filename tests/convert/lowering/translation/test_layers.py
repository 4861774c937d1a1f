"""Every layer and operation that is translated computes what Keras does, in the operators that are expected."""

# ruff: noqa: PLW0108 - every network gets layers of its own
from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from convert.lowering.translation.calls import INACTIVE
from convert.lowering.translation.table import OPERATIONS, TRANSLATIONS
from convert.tflite.graph import TfliteGraph
from tests.convert.lowering.translation.comparing import Body, Tensor, agreement, kinds, network

LEAST_SQNR_DB = 105.0


def pixel(x: Tensor) -> Tensor:
    return layers.GlobalAveragePooling2D(keepdims=True)(x)


def features(x: Tensor) -> Tensor:
    return layers.GlobalAveragePooling2D()(x)


def squeeze_and_excite(x: Tensor) -> Tensor:
    gate = layers.Reshape((1, 1, 6))(features(x))
    gate = layers.Conv2D(2, 1, activation="swish")(gate)
    return layers.Multiply()([x, layers.Conv2D(6, 1, activation="sigmoid")(gate)])


def padded(zeros: object, *arguments: object, kind: type = layers.Conv2D, **options: object) -> Body:
    return lambda x: kind(*arguments, **options)(layers.ZeroPadding2D(zeros)(x))


def normalization(x: Tensor) -> Tensor:
    return layers.Normalization(mean=[1, 2, 3, 4, 5, 6], variance=[4, 1, 2, 3, 1, 9])(x)


def both(*branches: layers.Layer) -> Body:
    """Add what two layers make of the same tensor."""
    return lambda x: layers.Add()([branch(x) for branch in branches])


def caffe(x: Tensor) -> Tensor:
    return ops.stack([x[..., i] for i in (5, 4, 3, 2, 1, 0)], axis=-1) + np.arange(6, dtype=np.float32)


CONVOLUTIONS: dict[str, tuple[Body, list[str]]] = {
    "plain": (lambda x: layers.Conv2D(5, 3, activation="relu")(x), ["CONV_2D"]),
    "same, strides, one row": (lambda x: layers.Conv2D(5, (1, 7), (2, 1), padding="same")(x), ["CONV_2D"]),
    "groups": (lambda x: layers.Conv2D(9, 3, groups=3, activation="relu")(x), ["CONV_2D"]),
    "group for each channel": (lambda x: layers.Conv2D(12, 3, groups=6, padding="same")(x), ["DEPTHWISE_CONV_2D"]),
    "depthwise": (lambda x: layers.DepthwiseConv2D(3, 2, depth_multiplier=2)(x), ["DEPTHWISE_CONV_2D"]),
    "separable": (
        lambda x: layers.SeparableConv2D(5, 3, 2, padding="same", depth_multiplier=2, activation="relu")(x),
        ["DEPTHWISE_CONV_2D", "CONV_2D"],
    ),
    "separable, then batch-normalization": (
        lambda x: layers.BatchNormalization()(layers.SeparableConv2D(6, 3, use_bias=False)(x)),
        ["DEPTHWISE_CONV_2D", "CONV_2D"],
    ),
    "dense of pixels": (lambda x: layers.Dense(4, activation="gelu")(x), ["CONV_2D", "GELU"]),
    "dense of features": (lambda x: layers.Dense(9, activation="relu")(features(x)), ["MEAN", "FULLY_CONNECTED"]),
    "dense of one pixel": (lambda x: layers.Dense(4)(pixel(x)), ["MEAN", "CONV_2D"]),
    "dense, then batch-normalization": (
        lambda x: layers.ReLU()(layers.BatchNormalization()(layers.Dense(4, use_bias=False)(features(x)))),
        ["MEAN", "FULLY_CONNECTED"],
    ),
    "zeros as SAME would add them": (padded(1, 5, 3), ["CONV_2D"]),
    "zeros of a stride, odd": (padded(((1, 1), (0, 1)), 5, 3, 2), ["CONV_2D"]),
    "more zeros than are read": (padded(((1, 1), (0, 1)), 5, 3, 4), ["CONV_2D"]),
    "zeros of a stride, depthwise": (
        padded(((1, 1), (0, 1)), 3, 2, kind=layers.DepthwiseConv2D, activation="relu"),
        ["DEPTHWISE_CONV_2D"],
    ),
    "zeros of a dilated kernel": (padded(2, 5, 3, dilation_rate=2), ["CONV_2D"]),
    "zeros on the other side": (padded(((1, 1), (1, 1)), 5, 3, 2), ["PAD", "CONV_2D"]),
    "too many zeros": (padded(2, 5, 3), ["PAD", "CONV_2D"]),
    "zeros before a padded convolution": (padded(1, 5, 3, padding="same"), ["PAD", "CONV_2D"]),
    "zeros before a pool": (padded(1, 3, kind=layers.AveragePooling2D), ["PAD", "AVERAGE_POOL_2D"]),
    "zeros that two read": (
        lambda x: both(layers.Conv2D(6, 3), layers.Conv2D(6, 3))(layers.ZeroPadding2D()(x)),
        ["CONV_2D", "CONV_2D", "ADD"],
    ),
}

NORMALIZATIONS: dict[str, tuple[Body, list[str]]] = {
    "batch-normalization": (lambda x: layers.BatchNormalization()(x), ["DEPTHWISE_CONV_2D"]),
    "with a ReLU": (lambda x: layers.ReLU()(layers.BatchNormalization()(x)), ["DEPTHWISE_CONV_2D"]),
    "of features": (lambda x: layers.BatchNormalization()(features(x)), ["MEAN", "MUL", "ADD"]),
    "twice behind a convolution": (
        lambda x: layers.BatchNormalization()(layers.BatchNormalization()(layers.Conv2D(4, 3)(x))),
        ["CONV_2D"],
    ),
    "before an unpadded convolution": (lambda x: layers.Conv2D(4, 3)(layers.BatchNormalization()(x)), ["CONV_2D"]),
    "before a padded convolution": (
        lambda x: layers.Conv2D(4, 3, padding="same")(layers.BatchNormalization()(x)),
        ["DEPTHWISE_CONV_2D", "CONV_2D"],
    ),
    "before a padded convolution of a pixel": (
        lambda x: layers.Conv2D(4, 1, 2, padding="same")(layers.BatchNormalization()(x)),
        ["CONV_2D"],
    ),
    "before a depthwise convolution": (
        lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2)(layers.BatchNormalization()(x)),
        ["DEPTHWISE_CONV_2D"],
    ),
    "before a separable convolution": (
        lambda x: layers.SeparableConv2D(4, 3)(layers.BatchNormalization()(x)),
        ["DEPTHWISE_CONV_2D", "CONV_2D"],
    ),
    "before groups": (
        lambda x: layers.Conv2D(4, 3, groups=2)(layers.BatchNormalization()(x)),
        ["DEPTHWISE_CONV_2D", "CONV_2D"],
    ),
    "before a dense layer": (
        lambda x: layers.Dense(4)(layers.BatchNormalization()(features(x))),
        ["MEAN", "FULLY_CONNECTED"],
    ),
    "before zeros": (
        lambda x: layers.Conv2D(4, 3)(layers.ZeroPadding2D()(layers.BatchNormalization()(x))),
        ["DEPTHWISE_CONV_2D", "CONV_2D"],
    ),
    "before a convolution and a sum": (
        lambda x: both(layers.Conv2D(6, 1), layers.Identity())(layers.BatchNormalization()(x)),
        ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD"],
    ),
    "a convolution that others read": (
        lambda x: both(layers.Identity(), layers.BatchNormalization())(layers.Conv2D(6, 1)(x)),
        ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD"],
    ),
    "rescaling": (lambda x: layers.Rescaling(1 / 127.5, -1)(x), ["DEPTHWISE_CONV_2D"]),
    "rescaling without offset": (lambda x: layers.Rescaling(0.1)(x), ["MUL"]),
    "rescaling, into a padded convolution": (
        lambda x: layers.Conv2D(4, 3, padding="same")(layers.Rescaling(1 / 255)(x)),
        ["CONV_2D"],
    ),
    "normalization": (normalization, ["DEPTHWISE_CONV_2D"]),
    "three in a row": (
        lambda x: layers.Rescaling([1, 2, 3, 4, 5, 6])(normalization(layers.Rescaling(0.5, 1)(x))),
        ["DEPTHWISE_CONV_2D"],
    ),
    "channels reversed": (lambda x: layers.Conv2D(4, 3)(x[..., ::-1]), ["CONV_2D"]),
    "channels reversed, not behind": (lambda x: layers.MaxPooling2D()(x[..., ::-1] - 2.0), ["CONV_2D", "MAX_POOL_2D"]),
    "two channels": (lambda x: layers.Conv2D(4, 3)(x[:, :, :, 1:5:2]), ["CONV_2D"]),
    "caffe, unpadded": (lambda x: layers.Conv2D(4, 3)(caffe(x)), ["CONV_2D"]),
    "caffe, padded": (lambda x: layers.Conv2D(4, 3, padding="same")(caffe(x)), ["CONV_2D", "CONV_2D"]),
    "chosen twice": (lambda x: layers.Conv2D(4, 3)(caffe(x)[..., 1:4]), ["CONV_2D"]),
    "layer-normalization": (
        lambda x: layers.LayerNormalization(epsilon=1e-6)(x),
        ["MEAN", "SQUARED_DIFFERENCE", "MEAN", "ADD", "RSQRT", "SUB", "MUL", "DEPTHWISE_CONV_2D"],
    ),
    "layer-normalization before a dense layer": (
        lambda x: layers.Dense(3)(layers.LayerNormalization()(x)),
        ["MEAN", "SQUARED_DIFFERENCE", "MEAN", "ADD", "RSQRT", "SUB", "MUL", "CONV_2D"],
    ),
    "layer-normalization of features": (
        lambda x: layers.LayerNormalization(scale=False, center=False)(layers.Dense(5)(features(x))),
        ["MEAN", "FULLY_CONNECTED", "MEAN", "SQUARED_DIFFERENCE", "MEAN", "ADD", "RSQRT", "SUB", "MUL"],
    ),
}

ACTIVATIONS: dict[str, tuple[Body, list[str]]] = {
    name: (lambda x, name=name: layers.Conv2D(4, 3, activation=name)(x), ["CONV_2D", *expected])
    for name, expected in {
        "relu": [], "relu6": [], "sigmoid": ["LOGISTIC"], "tanh": ["TANH"], "silu": ["LOGISTIC", "MUL"],
        "hard_silu": ["HARD_SWISH"], "hard_sigmoid": ["MUL"], "gelu": ["GELU"], "elu": ["ELU"],
        "leaky_relu": ["LEAKY_RELU"],
    }.items()
}  # fmt: skip
ACTIVATIONS |= {
    "a layer": (lambda x: layers.Activation("swish")(x), ["LOGISTIC", "MUL"]),
    "a layer, hard sigmoid": (lambda x: layers.Activation("hard_sigmoid")(x), ["ADD", "MUL"]),
    "a layer as activation": (
        lambda x: layers.Conv2D(4, 3, activation=layers.LeakyReLU(0.1))(x),
        ["CONV_2D", "LEAKY_RELU"],
    ),
    "ReLU": (lambda x: layers.ReLU()(x), ["RELU"]),
    "ReLU up to 6": (lambda x: layers.ReLU(6.0)(layers.Conv2D(4, 3)(x)), ["CONV_2D"]),
    "ReLU up to 5": (lambda x: layers.ReLU(5.0)(layers.Conv2D(4, 3)(x)), ["CONV_2D", "MINIMUM"]),
    "ReLU with a slope": (lambda x: layers.ReLU(negative_slope=0.1)(x), ["LEAKY_RELU"]),
    "LeakyReLU": (lambda x: layers.LeakyReLU(negative_slope=0.3)(x), ["LEAKY_RELU"]),
    "PReLU": (lambda x: layers.PReLU()(x), ["PRELU"]),
    "PReLU of channels": (lambda x: layers.PReLU(shared_axes=[1, 2])(x), ["PRELU"]),
    "ELU": (lambda x: layers.ELU()(x), ["ELU"]),
    "MobileNetV3's hard sigmoid": (
        lambda x: layers.ReLU(6.0)(layers.Conv2D(4, 3)(x) + 3.0) * (1.0 / 6.0),
        ["CONV_2D", "MUL"],
    ),
    "softmax": (lambda x: layers.Dense(4, activation="softmax")(features(x)), ["MEAN", "FULLY_CONNECTED", "SOFTMAX"]),
    "softmax of one pixel": (lambda x: layers.Softmax()(layers.Conv2D(4, 1)(pixel(x))), ["MEAN", "CONV_2D", "SOFTMAX"]),
    "ReLU behind a concatenation": (
        lambda x: layers.ReLU()(layers.Concatenate()([x, layers.Conv2D(3, 1)(x)])),
        ["CONV_2D", "CONCATENATION", "RELU"],
    ),
    "ReLU beside dropout": (
        lambda x: both(layers.Identity(), keras.Sequential([layers.Dropout(0.5), layers.ReLU()]))(
            layers.Conv2D(4, 1)(x)
        ),
        ["CONV_2D", "RELU", "ADD"],
    ),
}  # fmt: skip
ACTIVATIONS |= {
    f"operation {function.__name__}": (lambda x, function=function: function(x), expected)
    for function, expected in {
        ops.relu: ["RELU"], ops.relu6: ["RELU6"], ops.sigmoid: ["LOGISTIC"], ops.tanh: ["TANH"],
        ops.silu: ["LOGISTIC", "MUL"], ops.hard_silu: ["HARD_SWISH"], ops.hard_sigmoid: ["ADD", "MUL"],
        ops.elu: ["ELU"], ops.leaky_relu: ["LEAKY_RELU"],
    }.items()
}  # fmt: skip
ACTIVATIONS |= {
    "operation gelu": (lambda x: ops.gelu(x, approximate=False), ["GELU"]),
    "operation softmax": (lambda x: ops.softmax(layers.Dense(4)(features(x))), ["MEAN", "FULLY_CONNECTED", "SOFTMAX"]),
}


def of_two(function: Body) -> Body:
    """Apply a function to two different tensors."""
    return lambda x: function([x, layers.Conv2D(6, 1)(x)])


ARITHMETIC: dict[str, tuple[Body, list[str]]] = {
    "add": (of_two(lambda xs: layers.Add()(xs)), ["CONV_2D", "ADD"]),
    "add, then ReLU": (of_two(lambda xs: layers.ReLU()(layers.Add()(xs))), ["CONV_2D", "ADD"]),
    "add three": (of_two(lambda xs: layers.Add()([*xs, xs[0]])), ["CONV_2D", "ADD", "ADD"]),
    "add a pixel": (of_two(lambda xs: layers.Add()([xs[0], pixel(xs[1])])), ["CONV_2D", "MEAN", "ADD"]),
    "add to a pixel": (of_two(lambda xs: layers.Add()([pixel(xs[0]), xs[1]])), ["MEAN", "CONV_2D", "ADD"]),
    "subtract": (of_two(lambda xs: layers.Subtract()(xs)), ["CONV_2D", "SUB"]),
    "multiply": (of_two(lambda xs: layers.Multiply()(xs)), ["CONV_2D", "MUL"]),
    "maximum": (of_two(lambda xs: layers.Maximum()(xs)), ["CONV_2D", "MAXIMUM"]),
    "minimum": (of_two(lambda xs: layers.Minimum()(xs)), ["CONV_2D", "MINIMUM"]),
    "average": (of_two(lambda xs: layers.Average()(xs)), ["CONV_2D", "ADD", "MUL"]),
    "squeeze and excite": (
        squeeze_and_excite,
        ["MEAN", "RESHAPE", "CONV_2D", "LOGISTIC", "MUL", "CONV_2D", "LOGISTIC", "MUL"],
    ),
    "operations of two": (
        of_two(lambda xs: ops.maximum((xs[0] + xs[1]) * xs[0] - xs[1], ops.minimum(*xs))),
        ["CONV_2D", "ADD", "MUL", "SUB", "MINIMUM", "MAXIMUM"],
    ),
    "division of two": (of_two(lambda xs: xs[0] / (ops.sigmoid(xs[1]) + 1)), ["CONV_2D", "LOGISTIC", "ADD", "DIV"]),
    "operations with constants": (lambda x: layers.Conv2D(3, 2)((1 - x / 127.5) * 2 + 0.5), ["CONV_2D"]),
    "constants for channels": (
        lambda x: (x - np.arange(6.0, dtype="float32")) / np.float32([1, 2, 3, 4, 5, 6]),
        ["DEPTHWISE_CONV_2D"],
    ),
    "negative": (lambda x: layers.Conv2D(3, 2)(-x), ["CONV_2D"]),
    "mean of pixels": (lambda x: ops.mean(x, axis=(1, 2)), ["MEAN"]),
    "mean of columns, kept": (lambda x: ops.mean(x, axis=-2, keepdims=True), ["MEAN"]),
}  # fmt: skip

SHAPES: dict[str, tuple[Body, list[str]]] = {
    "max pool": (lambda x: layers.MaxPooling2D(3, 2, padding="same")(x), ["MAX_POOL_2D"]),
    "average pool": (lambda x: layers.AveragePooling2D((2, 3), padding="same")(x), ["AVERAGE_POOL_2D"]),
    "ReLU behind a pool": (lambda x: layers.ReLU()(layers.MaxPooling2D(2)(x)), ["MAX_POOL_2D", "RELU"]),
    "global average": (features, ["MEAN"]),
    "global average, kept": (pixel, ["MEAN"]),
    "global maximum": (lambda x: layers.GlobalMaxPooling2D()(x), ["MAX_POOL_2D", "RESHAPE"]),
    "global maximum, kept": (lambda x: layers.GlobalMaxPooling2D(keepdims=True)(x), ["MAX_POOL_2D"]),
    "flatten": (lambda x: layers.Dense(4)(layers.Flatten()(x)), ["RESHAPE", "FULLY_CONNECTED"]),
    "flatten features": (lambda x: layers.Flatten()(features(x)), ["MEAN"]),
    "reshape": (lambda x: layers.Reshape((12, -1, 6))(x), ["RESHAPE"]),
    "operation reshape": (lambda x: ops.reshape(x, (-1, 12, 13 * 6)), ["RESHAPE"]),
    "zeros": (lambda x: layers.ZeroPadding2D(((1, 2), (0, 3)))(x), ["PAD"]),
    "crop": (lambda x: layers.Cropping2D(((1, 2), (0, 3)))(x), ["SLICE"]),
    "crop nothing": (lambda x: layers.ReLU()(layers.Cropping2D(0)(x)), ["RELU"]),
    "crop of zeros": (
        lambda x: layers.Cropping2D(((1, 0), (1, 0)))(layers.ZeroPadding2D(((0, 1), (0, 1)))(x)),
        ["PAD", "SLICE"],
    ),
    "centre crop": (lambda x: layers.CenterCrop(8, 9)(x), ["SLICE"]),
    "resizing": (lambda x: layers.Resizing(20, 9)(x), ["RESIZE_BILINEAR"]),
    "resizing, nearest": (lambda x: layers.Resizing(20, 9, interpolation="nearest")(x), ["RESIZE_NEAREST_NEIGHBOR"]),
    "resizing to the same size": (lambda x: layers.ReLU()(layers.Resizing(13, 12)(x)), ["RELU"]),
    "up-sampling": (lambda x: layers.UpSampling2D((2, 3))(x), ["RESIZE_NEAREST_NEIGHBOR"]),
    "up-sampling, bilinear": (lambda x: layers.UpSampling2D(2, interpolation="bilinear")(x), ["RESIZE_BILINEAR"]),
    "permute": (lambda x: layers.Permute((3, 1, 2))(x), ["TRANSPOSE"]),
    "operation transpose": (lambda x: ops.transpose(x, (0, 2, 1, 3)), ["TRANSPOSE"]),
    "concatenate": (lambda x: layers.Concatenate()([x, layers.MaxPooling2D(1)(x)]), ["MAX_POOL_2D", "CONCATENATION"]),
    "concatenate rows": (lambda x: layers.Concatenate(axis=1)([x, x]), ["CONCATENATION"]),
    "operation concatenate": (lambda x: ops.concatenate([x, x], axis=-1), ["CONCATENATION"]),
    "cast to itself": (lambda x: layers.ReLU()(ops.cast(x, "float32")), ["RELU"]),
}  # fmt: skip

CASES = {
    f"{group}: {name}": case
    for group, cases in {
        "convolution": CONVOLUTIONS, "normalization": NORMALIZATIONS, "activation": ACTIVATIONS,
        "arithmetic": ARITHMETIC, "shape": SHAPES,
    }.items()
    for name, case in cases.items()
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_keras_does(name: str) -> None:
    body, expected = CASES[name]
    translated, sqnr_db = agreement(network(body))
    assert kinds(translated) == expected
    assert sqnr_db > LEAST_SQNR_DB
    graph = TfliteGraph(translated)
    names = [graph.tensor_name(index) for index in graph.tensors]
    assert len(names) == len(set(names)), "statistics are kept by name"


def inactive(name: str) -> layers.Layer:
    """A layer of that name with options that would show if it did anything."""
    from keras.src.applications.convnext import StochasticDepth

    made = {"StochasticDepth": StochasticDepth, **vars(layers)}[name]
    options = {
        "ActivityRegularization": {"l2": 0.1}, "Identity": {}, "RandomFlip": {}, "RandomPerspective": {},
        "RandomZoom": {"height_factor": 0.3}, "RandomTranslation": {"height_factor": 0.3, "width_factor": 0.3},
        "RandomColorJitter": {"brightness_factor": 0.3}, "RandomPosterization": {"factor": 4},
        "RandomGaussianBlur": {"factor": 1.0}, "RandomShear": {"x_factor": 0.3}, "RandomElasticTransform": {},
        "RandomErasing": {}, "RandomInvert": {}, "RandomGrayscale": {},
    }  # fmt: skip
    return made(**options[name]) if name in options else made(0.3)


@pytest.mark.parametrize("name", sorted(INACTIVE))
def test_layers_without_effect_at_inference_are_left_out(name: str) -> None:
    if not hasattr(layers, name) and name != "StochasticDepth":
        pytest.skip(f"this Keras has no {name}")
    translated, sqnr_db = agreement(network(lambda x: layers.ReLU()(inactive(name)(x)), (13, 12, 3)))
    assert kinds(translated) == ["RELU"]
    assert sqnr_db > LEAST_SQNR_DB


def test_every_row_of_the_tables_is_tried_here() -> None:
    called: tuple[set[str], set[str]] = set(), set()
    for body, _ in CASES.values():
        for operation in network(body).operations:
            called[not isinstance(operation, layers.Layer)].add(type(operation).__name__)
    elsewhere = {"CustomScaleLayer", "LayerScale"}  # Keras' own networks have them: see test_families
    assert TRANSLATIONS.keys() - called[0] <= elsewhere
    assert OPERATIONS.keys() - called[1] <= {"Divide"}
    assert not elsewhere & called[0]
