"""Keras' own Inception-ResNet-V2, an eighth as wide: its topology for a small part of the work."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import keras
from keras.src.applications import inception_resnet_v2 as theirs

from tests.convert.article import randomise

conv2d_bn, inception_resnet_block = theirs.conv2d_bn, theirs.inception_resnet_block


def narrow_conv2d_bn(x: Any, filters: int, *arguments: Any, activation: str | None = "relu", **options: Any) -> Any:
    """Divide the filters by 8, but not those of the convolution before a sum, the only one without an activation."""
    filters = filters // 8 if activation else filters
    return conv2d_bn(x, filters, *arguments, activation=activation, **options)


@functools.cache
def narrow_inception_resnet(most_blocks: int = 20) -> keras.Model:
    """The network with random weights, for images of 75 pixels and four classes; not to be changed.

    Args:
        most_blocks: of each of the three kinds; Keras has 10, 20 and 10, the last of them without a ReLU.
    """

    def block(x: Any, block_idx: int, activation: str | None = "relu", **options: Any) -> Any:
        is_left_out = block_idx > most_blocks and activation is not None
        return x if is_left_out else inception_resnet_block(x, block_idx=block_idx, activation=activation, **options)

    with (
        mock.patch.object(theirs, "conv2d_bn", narrow_conv2d_bn),
        mock.patch.object(theirs, "inception_resnet_block", block),
    ):
        model = keras.applications.InceptionResNetV2(weights=None, input_shape=(75, 75, 3), classes=4)
    return randomise(model)
