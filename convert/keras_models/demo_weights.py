"""Weights of the demo network: random kernels regenerated from a seed, and a stored trained remainder.

Only the batch-normalizations and the dense layer are trained (Frankle, Schwab, Morcos 2021, "Training
BatchNorm and Only BatchNorm", arXiv:2003.00152), so 59.6 M parameters fit a file of a megabyte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from convert.keras_models.inception_resnet_v2 import unit_names
from convert.keras_models.weights.stored_weights import NORMALIZATION_ARRAYS
from edge_runtime.arrays import Array

KERNEL_SEED = 2017
LABELS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
"""The classes of Fashion-MNIST, in the data set's order."""


def random_kernels(shapes: list[tuple[int, ...]]) -> Iterator[Array]:
    """Yield uniform float32 kernels in [-1, 1) * sqrt(6 / fan_in), all from one stream.

    Raw Philox bits are specified by the algorithm (Salmon et al. 2011, "Parallel random numbers: as
    easy as 1, 2, 3"), so the kernels stay the same even if a NumPy release changes its distributions.

    Args:
        shapes: (height, width, channels in, channels out) of each kernel, in the order of the stream.
    """
    stream = np.random.Philox(key=KERNEL_SEED)
    for shape in shapes:
        bits = stream.random_raw(int(np.prod(shape)))
        uniform = (bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)
        fan_in = int(np.prod(shape[:-1]))
        yield (uniform * np.float32(np.sqrt(6 / fan_in))).reshape(shape)


def set_random_kernels(model: Any) -> None:
    """Give every convolution of `model` its kernel from the stream, and zero biases."""
    convolutions = [model.get_layer(f"{name}_conv") for name in unit_names(model)]
    kernels = random_kernels([tuple(layer.kernel.shape) for layer in convolutions])
    for layer, kernel in zip(convolutions, kernels, strict=True):
        layer.set_weights([kernel, np.zeros(kernel.shape[-1], np.float32)])


def set_trained_parameters(model: Any, path: Path) -> None:
    """Set the batch-normalizations and the dense layer of `model` from the file at `path`."""
    with np.load(path, allow_pickle=False) as stored:
        for name in unit_names(model):
            values = [stored[f"{name}/{key}"].astype(np.float32) for key in NORMALIZATION_ARRAYS]
            model.get_layer(f"{name}_bn").set_weights(values)
        dense = [stored["dense/kernel"].astype(np.float32), stored["dense/bias"].astype(np.float32)]
        model.get_layer("dense").set_weights(dense)


def stored_size(path: Path) -> int:
    """Return the height and width, in pixels, at which the weights in the file at `path` were trained."""
    with np.load(path, allow_pickle=False) as stored:
        return int(stored["size"])
