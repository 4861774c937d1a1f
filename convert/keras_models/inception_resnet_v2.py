"""Inception-ResNet-V2, as the "Inception-ResNet-V2 in TensorFlow 2" article builds it.

The network of Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning" (arXiv:1602.07261): the stem of Inception-v4 (figure 3), ten A, twenty B and
ten C residual blocks (figures 16, 17 and 19) with two reductions between them (figures 7 and 18). The
article differs from `keras.applications.InceptionResNetV2`: every convolution has a bias, a
batch-normalization and a ReLU, the 1x1 before each residual sum included, and nothing is scaled before
the sum.

Every unit is named as in the article: its ReLU, and so its output, carries the unit's name
(`inception_resnet_A_1_part2_conv_bn_relu1`); its convolution and batch-normalization add `_conv` and
`_bn` to it. Shapes in the comments are height x width x channels for a 299x299x3 input.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from convert.keras_models.walk import calls

Tensor = Any

MINIMUM_INPUT_SIZE = 75
"""The smallest height and width that leaves a pixel after the five unpadded strided stages."""


def inception_resnet_v2(
    input_shape: tuple[int, int, int] = (299, 299, 3),
    classes: int = 1000,
    *,
    repeats: tuple[int, int, int] = (10, 20, 10),
    width: float = 1.0,
    dropout: float = 0.2,
) -> keras.Model:
    """Build the network with fresh weights.

    Args:
        input_shape: height, width and channels of one image; both sides at least 75 pixels.
        classes: number of classes, at least 1.
        repeats: number of A, B and C blocks.
        width: factor on the number of filters of every convolution; below 1 for tests.
        dropout: fraction of pooled features dropped in training.

    Returns:
        A functional model: float32 images (N, height, width, channels), preprocessed to [-1, 1], to
        class probabilities (N, classes).

    Raises:
        ValueError: the input is too small, or there are no classes.
    """
    height, width_px, _ = input_shape
    if min(height, width_px) < MINIMUM_INPUT_SIZE:
        raise ValueError(
            f"input size {height}x{width_px} is too small: Inception-ResNet-V2 needs at least "
            f"{MINIMUM_INPUT_SIZE}x{MINIMUM_INPUT_SIZE} pixels"
        )
    if classes < 1:
        raise ValueError(f"{classes} classes: a classifier needs at least one")
    image = keras.Input(input_shape, name="image")
    x = stem(image, width=width)  # 35x35x384
    for block in range(1, repeats[0] + 1):
        x = inception_resnet_a(x, name=f"inception_resnet_A_{block}", width=width)  # 35x35x384
    x = reduction_a(x, width=width)  # 17x17x1152
    for block in range(1, repeats[1] + 1):
        x = inception_resnet_b(x, name=f"inception_resnet_B_{block}", width=width)  # 17x17x1152
    x = reduction_b(x, width=width)  # 8x8x2144
    for block in range(1, repeats[2] + 1):
        x = inception_resnet_c(x, name=f"inception_resnet_C_{block}", width=width)  # 8x8x2144
    x = layers.GlobalAveragePooling2D(name="average_pool")(x)  # 2144
    x = layers.Dropout(dropout, name="dropout")(x)
    probabilities = layers.Dense(classes, activation="softmax", dtype="float32", name="dense")(x)
    return keras.Model(image, probabilities, name="inception_resnet_v2")


def conv_bn_relu(
    x: Tensor,
    filters: int,
    kernel_size: int | tuple[int, int],
    *,
    name: str,
    strides: int = 1,
    padding: str = "same",
    width: float = 1.0,
) -> Tensor:
    """Add a convolution with bias, batch-normalization and ReLU: (N, h, w, c) -> (N, h', w', filters * width)."""
    scaled = max(1, round(filters * width))
    x = layers.Conv2D(scaled, kernel_size, strides=strides, padding=padding, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.Activation("relu", name=name)(x)


def stem(x: Tensor, *, width: float = 1.0) -> Tensor:
    """Add the stem of Inception-v4: 299x299x3 -> 35x35x384."""
    x = conv_bn_relu(x, 32, 3, strides=2, padding="valid", name="stem_conv_bn_relu1", width=width)  # 149x149x32
    x = conv_bn_relu(x, 32, 3, padding="valid", name="stem_conv_bn_relu2", width=width)  # 147x147x32
    x = conv_bn_relu(x, 64, 3, name="stem_conv_bn_relu3", width=width)  # 147x147x64

    part1 = _max_pool(x, "stem_4_part1_max_pool")
    part2 = conv_bn_relu(x, 96, 3, strides=2, padding="valid", name="stem_4_part2_conv_bn_relu1", width=width)
    x = layers.Concatenate(name="stem_4_concat")([part1, part2])  # 73x73x160

    part1 = conv_bn_relu(x, 64, 1, name="stem_5_part1_conv_bn_relu1", width=width)
    part1 = conv_bn_relu(part1, 96, 3, padding="valid", name="stem_5_part1_conv_bn_relu2", width=width)
    part2 = conv_bn_relu(x, 64, 1, name="stem_5_part2_conv_bn_relu1", width=width)
    part2 = conv_bn_relu(part2, 64, (1, 7), name="stem_5_part2_conv_bn_relu2", width=width)
    part2 = conv_bn_relu(part2, 64, (7, 1), name="stem_5_part2_conv_bn_relu3", width=width)
    part2 = conv_bn_relu(part2, 96, 3, padding="valid", name="stem_5_part2_conv_bn_relu4", width=width)
    x = layers.Concatenate(name="stem_5_concat")([part1, part2])  # 71x71x192

    part1 = _max_pool(x, "stem_6_part1_max_pool")
    part2 = conv_bn_relu(x, 192, 3, strides=2, padding="valid", name="stem_6_part2_conv_bn_relu1", width=width)
    return layers.Concatenate(name="stem_6_concat")([part1, part2])  # 35x35x384


def inception_resnet_a(x: Tensor, *, name: str, width: float = 1.0) -> Tensor:
    """Add residual block A: 35x35x384 -> 35x35x384."""
    part1 = conv_bn_relu(x, 32, 1, name=f"{name}_part1_conv_bn_relu1", width=width)
    part2 = conv_bn_relu(x, 32, 1, name=f"{name}_part2_conv_bn_relu1", width=width)
    part2 = conv_bn_relu(part2, 32, 3, name=f"{name}_part2_conv_bn_relu2", width=width)
    part3 = conv_bn_relu(x, 32, 1, name=f"{name}_part3_conv_bn_relu1", width=width)
    part3 = conv_bn_relu(part3, 48, 3, name=f"{name}_part3_conv_bn_relu2", width=width)
    part3 = conv_bn_relu(part3, 64, 3, name=f"{name}_part3_conv_bn_relu3", width=width)
    return _residual_sum(x, [part1, part2, part3], name)


def reduction_a(x: Tensor, *, width: float = 1.0) -> Tensor:
    """Add reduction A: 35x35x384 -> 17x17x1152."""
    part1 = _max_pool(x, "reduction_A_part1_max_pool")
    part2 = conv_bn_relu(x, 384, 3, strides=2, padding="valid", name="reduction_A_part2_conv_bn_relu1", width=width)
    part3 = conv_bn_relu(x, 256, 1, name="reduction_A_part3_conv_bn_relu1", width=width)
    part3 = conv_bn_relu(part3, 256, 3, name="reduction_A_part3_conv_bn_relu2", width=width)
    part3 = conv_bn_relu(part3, 384, 3, strides=2, padding="valid", name="reduction_A_part3_conv_bn_relu3", width=width)
    return layers.Concatenate(name="reduction_A_concat")([part1, part2, part3])


def inception_resnet_b(x: Tensor, *, name: str, width: float = 1.0) -> Tensor:
    """Add residual block B: 17x17x1152 -> 17x17x1152; its 7x7 is factorised into 1x7 and 7x1."""
    part1 = conv_bn_relu(x, 192, 1, name=f"{name}_part1_conv_bn_relu1", width=width)
    part2 = conv_bn_relu(x, 128, 1, name=f"{name}_part2_conv_bn_relu1", width=width)
    part2 = conv_bn_relu(part2, 160, (1, 7), name=f"{name}_part2_conv_bn_relu2", width=width)
    part2 = conv_bn_relu(part2, 192, (7, 1), name=f"{name}_part2_conv_bn_relu3", width=width)
    return _residual_sum(x, [part1, part2], name)


def reduction_b(x: Tensor, *, width: float = 1.0) -> Tensor:
    """Add reduction B: 17x17x1152 -> 8x8x2144."""
    part1 = _max_pool(x, "reduction_B_part1_max_pool")
    part2 = conv_bn_relu(x, 256, 1, name="reduction_B_part2_conv_bn_relu1", width=width)
    part2 = conv_bn_relu(part2, 384, 3, strides=2, padding="valid", name="reduction_B_part2_conv_bn_relu2", width=width)
    part3 = conv_bn_relu(x, 256, 1, name="reduction_B_part3_conv_bn_relu1", width=width)
    part3 = conv_bn_relu(part3, 288, 3, strides=2, padding="valid", name="reduction_B_part3_conv_bn_relu2", width=width)
    part4 = conv_bn_relu(x, 256, 1, name="reduction_B_part4_conv_bn_relu1", width=width)
    part4 = conv_bn_relu(part4, 288, 3, name="reduction_B_part4_conv_bn_relu2", width=width)
    part4 = conv_bn_relu(part4, 320, 3, strides=2, padding="valid", name="reduction_B_part4_conv_bn_relu3", width=width)
    return layers.Concatenate(name="reduction_B_concat")([part1, part2, part3, part4])


def inception_resnet_c(x: Tensor, *, name: str, width: float = 1.0) -> Tensor:
    """Add residual block C: 8x8x2144 -> 8x8x2144; its 7x7 is factorised into 1x7 and 7x1."""
    part1 = conv_bn_relu(x, 192, 1, name=f"{name}_part1_conv_bn_relu1", width=width)
    part2 = conv_bn_relu(x, 192, 1, name=f"{name}_part2_conv_bn_relu1", width=width)
    part2 = conv_bn_relu(part2, 224, (1, 7), name=f"{name}_part2_conv_bn_relu2", width=width)
    part2 = conv_bn_relu(part2, 256, (7, 1), name=f"{name}_part2_conv_bn_relu3", width=width)
    return _residual_sum(x, [part1, part2], name)


def unit_names(model: keras.Model) -> list[str]:
    """Return the names of the convolution units of `model`, in the order in which the code above creates them."""
    operations = (call.operation for call in calls(model.output))
    return [layer.name.removesuffix("_conv") for layer in operations if isinstance(layer, layers.Conv2D)]


def _residual_sum(x: Tensor, parts: list[Tensor], name: str) -> Tensor:
    """Add ReLU(x + conv_bn_relu(concatenated parts)); the 1x1 convolution restores the channels of `x`."""
    branch = layers.Concatenate(name=f"{name}_concat")(parts)
    branch = conv_bn_relu(branch, x.shape[-1], 1, name=f"{name}_conv_bn_relu")
    x = layers.Add(name=f"{name}_add")([x, branch])
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _max_pool(x: Tensor, name: str) -> Tensor:
    return layers.MaxPooling2D(3, strides=2, padding="valid", name=name)(x)
