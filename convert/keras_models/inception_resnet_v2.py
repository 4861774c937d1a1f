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

from typing import Any, NamedTuple

import keras
from keras import layers

from convert.keras_models.sources import MINIMUM_INPUT_SIZE
from convert.keras_models.walk import calls

Tensor = Any


class Unit(NamedTuple):
    """The options of a unit's convolution, which has a bias; a batch-normalization and a ReLU follow it."""

    filters: int
    kernel_size: int | tuple[int, int]
    strides: int = 1
    padding: str = "same"


def halving(filters: int) -> Unit:
    """Return a unit that halves height and width."""
    return Unit(filters, 3, 2, "valid")


Branches = tuple[tuple[Unit, ...], ...]
"""Units one after the other in each of the branches that run side by side; `part1` in their names comes first."""

STEM = (Unit(32, 3, 2, "valid"), Unit(32, 3, 1, "valid"), Unit(64, 3))
STEM_4: Branches = ((halving(96),),)
STEM_5: Branches = (
    (Unit(64, 1), Unit(96, 3, 1, "valid")),
    (Unit(64, 1), Unit(64, (1, 7)), Unit(64, (7, 1)), Unit(96, 3, 1, "valid")),
)
STEM_6: Branches = ((halving(192),),)
BLOCK_A: Branches = ((Unit(32, 1),), (Unit(32, 1), Unit(32, 3)), (Unit(32, 1), Unit(48, 3), Unit(64, 3)))
REDUCTION_A: Branches = ((halving(384),), (Unit(256, 1), Unit(256, 3), halving(384)))
BLOCK_B: Branches = ((Unit(192, 1),), (Unit(128, 1), Unit(160, (1, 7)), Unit(192, (7, 1))))
REDUCTION_B: Branches = (
    (Unit(256, 1), halving(384)),
    (Unit(256, 1), halving(288)),
    (Unit(256, 1), Unit(288, 3), halving(320)),
)
BLOCK_C: Branches = ((Unit(192, 1),), (Unit(192, 1), Unit(224, (1, 7)), Unit(256, (7, 1))))


def inception_resnet_v2(
    input_shape: tuple[int, int, int] = (299, 299, 3),
    classes: int = 1000,
    *,
    repeats: tuple[int, int, int] = (10, 20, 10),
    width: float = 1.0,
) -> keras.Model:
    """Build the network with fresh weights.

    Args:
        input_shape: height, width and channels of one image.
        classes: number of classes.
        repeats: number of A, B and C blocks.
        width: factor on the number of filters of every convolution; below 1 for tests.

    Returns:
        A functional model of float32 images (N, height, width, channels) in [-1, 1] to probabilities (N, classes).

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
    x = _chain(image, "stem", STEM, width)  # 147x147x64
    x = _beside_pool(x, "stem_4", STEM_4, width)  # 73x73x160
    x = layers.Concatenate(name="stem_5_concat")(_branches(x, "stem_5", STEM_5, width))  # 71x71x192
    x = _beside_pool(x, "stem_6", STEM_6, width)  # 35x35x384
    for block in range(1, repeats[0] + 1):
        x = _residual(x, f"inception_resnet_A_{block}", BLOCK_A, width)  # 35x35x384
    x = _beside_pool(x, "reduction_A", REDUCTION_A, width)  # 17x17x1152
    for block in range(1, repeats[1] + 1):
        x = _residual(x, f"inception_resnet_B_{block}", BLOCK_B, width)  # 17x17x1152
    x = _beside_pool(x, "reduction_B", REDUCTION_B, width)  # 8x8x2144
    for block in range(1, repeats[2] + 1):
        x = _residual(x, f"inception_resnet_C_{block}", BLOCK_C, width)  # 8x8x2144
    x = layers.GlobalAveragePooling2D(name="average_pool")(x)  # 2144
    x = layers.Dropout(0.2, name="dropout")(x)
    probabilities = layers.Dense(classes, activation="softmax", dtype="float32", name="dense")(x)
    return keras.Model(image, probabilities, name="inception_resnet_v2")


def unit_names(model: keras.Model) -> list[str]:
    """Return the names of the convolution units of `model`, branch after branch from the image on."""
    operations = (call.operation for call in calls(model.output))
    return [layer.name.removesuffix("_conv") for layer in operations if isinstance(layer, layers.Conv2D)]


def _unit(x: Tensor, name: str, unit: Unit) -> Tensor:
    x = layers.Conv2D(**unit._asdict(), name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.Activation("relu", name=name)(x)


def _chain(x: Tensor, name: str, units: tuple[Unit, ...], width: float) -> Tensor:
    for number, unit in enumerate(units, 1):
        x = _unit(x, f"{name}_conv_bn_relu{number}", unit._replace(filters=max(1, round(unit.filters * width))))
    return x


def _branches(x: Tensor, name: str, branches: Branches, width: float, first: int = 1) -> list[Tensor]:
    return [_chain(x, f"{name}_part{part}", units, width) for part, units in enumerate(branches, first)]


def _beside_pool(x: Tensor, name: str, branches: Branches, width: float) -> Tensor:
    """Halve height and width: concatenate a max pool (part 1) and the branches."""
    pooled = layers.MaxPooling2D(3, strides=2, padding="valid", name=f"{name}_part1_max_pool")(x)
    return layers.Concatenate(name=f"{name}_concat")([pooled, *_branches(x, name, branches, width, first=2)])


def _residual(x: Tensor, name: str, branches: Branches, width: float) -> Tensor:
    """Add ReLU(x + unit(concatenated branches)); the 1x1 convolution restores the channels of `x`."""
    branch = layers.Concatenate(name=f"{name}_concat")(_branches(x, name, branches, width))
    branch = _unit(branch, f"{name}_conv_bn_relu", Unit(x.shape[-1], 1))
    x = layers.Add(name=f"{name}_add")([x, branch])
    return layers.Activation("relu", name=f"{name}_relu")(x)
