"""Inception-ResNet-V2 as TF-Slim and timm publish it, rebuilt from their structure, with arrays under their names.

The other side of every comparison, on purpose without `convert.keras_models.weights.published_names` and without Keras'
layers. A network makes each array when it first needs it, random as in a trained network, so that one pass over images
gives its answers and all that its file holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from edge_runtime.arrays import Array

EPSILON = 1e-3
Tensor = Any


class Arrays:
    """Arrays by name, random, made when they are asked for; multiples of a power of two that fit float16."""

    def __init__(self, seed: int) -> None:
        self.values: dict[str, Array] = {}
        self.random = np.random.default_rng(seed)

    def __call__(self, name: str, draw: Callable[[], Array]) -> Array:
        if name not in self.values:
            self.values[name] = draw().astype(np.float16).astype(np.float32)
        return self.values[name]

    def kernel(self, name: str, shape: tuple[int, ...], fan_in: int, gain: float = 1.5) -> Array:
        return self(name, lambda: self.random.normal(0, np.sqrt(gain / fan_in), shape))

    def shift(self, name: str, count: int) -> Array:
        return self(name, lambda: self.random.normal(0, 0.2, count))

    def positive(self, name: str, count: int) -> Array:
        return self(name, lambda: self.random.uniform(0.5, 1.5, count))


class Slim:
    """TF-Slim's network: kernels (height, width, in, out), batch-normalizations that only shift."""

    def __init__(self, classes: int = 1001, seed: int = 3) -> None:
        self.classes, self.arrays = classes, Arrays(seed)

    def conv(self, x: Tensor, name: str, filters: int, size: Any, stride: int = 1, padding: str = "SAME") -> Tensor:
        height, width = size if isinstance(size, tuple) else (size, size)
        shape = (height, width, x.shape[-1], filters)
        kernel = self.arrays.kernel(f"InceptionResnetV2/{name}/weights", shape, height * width * x.shape[-1])
        x = tf.nn.conv2d(x, kernel, stride, padding)
        norm = f"InceptionResnetV2/{name}/BatchNorm"
        mean = self.arrays.shift(f"{norm}/moving_mean", filters)
        variance = self.arrays.positive(f"{norm}/moving_variance", filters)
        beta = self.arrays.shift(f"{norm}/beta", filters)
        return tf.nn.relu((x - mean) / np.sqrt(variance + EPSILON) + beta)

    def block(self, x: Tensor, scope: str, scale: float, branches: Any, activated: bool = True) -> Tensor:
        mixed = tf.concat([self.branch(x, f"{scope}/Branch_{i}", each) for i, each in enumerate(branches)], 3)
        shape = (1, 1, mixed.shape[-1], x.shape[-1])
        kernel = self.arrays.kernel(f"InceptionResnetV2/{scope}/Conv2d_1x1/weights", shape, shape[2], 0.4)
        up = tf.nn.conv2d(mixed, kernel, 1, "SAME")
        x = x + scale * (up + self.arrays.shift(f"InceptionResnetV2/{scope}/Conv2d_1x1/biases", shape[3]))
        return tf.nn.relu(x) if activated else x

    def branch(self, x: Tensor, scope: str, units: Any) -> Tensor:
        for name, *options in units:
            x = self.conv(x, f"{scope}/{name}", *options)
        return x

    def logits(self, images: Array) -> Array:
        """Run over images (N, height, width, 3) in [-1, 1]."""
        half: tuple[Any, ...] = (2, "VALID")
        x = self.conv(tf.constant(images), "Conv2d_1a_3x3", 32, 3, *half)
        x = self.conv(x, "Conv2d_2a_3x3", 32, 3, 1, "VALID")
        x = self.conv(x, "Conv2d_2b_3x3", 64, 3)
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = self.conv(x, "Conv2d_3b_1x1", 80, 1, 1, "VALID")
        x = self.conv(x, "Conv2d_4a_3x3", 192, 3, 1, "VALID")
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        pooled = tf.nn.avg_pool2d(x, 3, 1, "SAME")
        three = [("Conv2d_0a_1x1", 64, 1), ("Conv2d_0b_3x3", 96, 3), ("Conv2d_0c_3x3", 96, 3)]
        x = tf.concat(
            [
                self.branch(x, "Mixed_5b/Branch_0", [("Conv2d_1x1", 96, 1)]),
                self.branch(x, "Mixed_5b/Branch_1", [("Conv2d_0a_1x1", 48, 1), ("Conv2d_0b_5x5", 64, 5)]),
                self.branch(x, "Mixed_5b/Branch_2", three),
                self.branch(pooled, "Mixed_5b/Branch_3", [("Conv2d_0b_1x1", 64, 1)]),
            ],
            3,
        )
        block35 = (
            [("Conv2d_1x1", 32, 1)],
            [("Conv2d_0a_1x1", 32, 1), ("Conv2d_0b_3x3", 32, 3)],
            [("Conv2d_0a_1x1", 32, 1), ("Conv2d_0b_3x3", 48, 3), ("Conv2d_0c_3x3", 64, 3)],
        )
        for i in range(1, 11):
            x = self.block(x, f"Repeat/block35_{i}", 0.17, block35)
        down = [("Conv2d_0a_1x1", 256, 1), ("Conv2d_0b_3x3", 256, 3), ("Conv2d_1a_3x3", 384, 3, *half)]
        x = tf.concat(
            [
                self.branch(x, "Mixed_6a/Branch_0", [("Conv2d_1a_3x3", 384, 3, *half)]),
                self.branch(x, "Mixed_6a/Branch_1", down),
                tf.nn.max_pool2d(x, 3, 2, "VALID"),
            ],
            3,
        )
        block17 = (
            [("Conv2d_1x1", 192, 1)],
            [("Conv2d_0a_1x1", 128, 1), ("Conv2d_0b_1x7", 160, (1, 7)), ("Conv2d_0c_7x1", 192, (7, 1))],
        )
        for i in range(1, 21):
            x = self.block(x, f"Repeat_1/block17_{i}", 0.10, block17)
        long = [("Conv2d_0a_1x1", 256, 1), ("Conv2d_0b_3x3", 288, 3), ("Conv2d_1a_3x3", 320, 3, *half)]
        x = tf.concat(
            [
                self.branch(x, "Mixed_7a/Branch_0", [("Conv2d_0a_1x1", 256, 1), ("Conv2d_1a_3x3", 384, 3, *half)]),
                self.branch(x, "Mixed_7a/Branch_1", [("Conv2d_0a_1x1", 256, 1), ("Conv2d_1a_3x3", 288, 3, *half)]),
                self.branch(x, "Mixed_7a/Branch_2", long),
                tf.nn.max_pool2d(x, 3, 2, "VALID"),
            ],
            3,
        )
        block8 = (
            [("Conv2d_1x1", 192, 1)],
            [("Conv2d_0a_1x1", 192, 1), ("Conv2d_0b_1x3", 224, (1, 3)), ("Conv2d_0c_3x1", 256, (3, 1))],
        )
        for i in range(1, 10):
            x = self.block(x, f"Repeat_2/block8_{i}", 0.20, block8)
        x = self.block(x, "Block8", 1.0, block8, activated=False)
        x = self.conv(x, "Conv2d_7b_1x1", 1536, 1)
        features = tf.reduce_mean(x, (1, 2))
        kernel = self.arrays.kernel("InceptionResnetV2/Logits/Logits/weights", (1536, self.classes), 1536)
        biases = self.arrays.shift("InceptionResnetV2/Logits/Logits/biases", self.classes)
        return np.asarray(features @ kernel + biases)


class Timm:
    """timm's network: kernels (out, in, height, width), padded by hand, batch-normalizations that scale as well."""

    def __init__(self, classes: int = 1000, seed: int = 4) -> None:
        self.classes, self.arrays = classes, Arrays(seed)

    def conv(self, x: Tensor, name: str, filters: int, size: Any, stride: int = 1, padding: Any = 0) -> Tensor:
        """BasicConv2d(filters, kernel_size=size, stride=stride, padding=padding)."""
        height, width = size if isinstance(size, tuple) else (size, size)
        fan_in = height * width * x.shape[-1]
        kernel = self.arrays.kernel(f"{name}.conv.weight", (filters, x.shape[-1], height, width), fan_in)
        x = tf.nn.conv2d(padded(x, padding), kernel.transpose(2, 3, 1, 0), stride, "VALID")
        gamma, beta = self.arrays.positive(f"{name}.bn.weight", filters), self.arrays.shift(f"{name}.bn.bias", filters)
        mean = self.arrays.shift(f"{name}.bn.running_mean", filters)
        variance = self.arrays.positive(f"{name}.bn.running_var", filters)
        return tf.nn.relu(gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta)

    def chain(self, x: Tensor, name: str, *units: tuple[Any, ...]) -> Tensor:
        """Sequential(BasicConv2d(...), ...)."""
        for i, options in enumerate(units):
            x = self.conv(x, f"{name}.{i}", *options)
        return x

    def block(self, x: Tensor, name: str, scale: float, branches: list[Tensor], activated: bool = True) -> Tensor:
        mixed = tf.concat(branches, 3)
        kernel = self.arrays.kernel(f"{name}.conv2d.weight", (x.shape[-1], mixed.shape[-1], 1, 1), mixed.shape[-1], 0.4)
        up = tf.nn.conv2d(mixed, kernel.transpose(2, 3, 1, 0), 1, "VALID")
        x = (up + self.arrays.shift(f"{name}.conv2d.bias", x.shape[-1])) * scale + x
        return tf.nn.relu(x) if activated else x

    def block35(self, x: Tensor, name: str) -> Tensor:
        branches = [
            self.conv(x, f"{name}.branch0", 32, 1),
            self.chain(x, f"{name}.branch1", (32, 1), (32, 3, 1, 1)),
            self.chain(x, f"{name}.branch2", (32, 1), (48, 3, 1, 1), (64, 3, 1, 1)),
        ]
        return self.block(x, name, 0.17, branches)

    def block17(self, x: Tensor, name: str) -> Tensor:
        long = self.chain(x, f"{name}.branch1", (128, 1), (160, (1, 7), 1, (0, 3)), (192, (7, 1), 1, (3, 0)))
        return self.block(x, name, 0.10, [self.conv(x, f"{name}.branch0", 192, 1), long])

    def block8(self, x: Tensor, name: str, scale: float, activated: bool = True) -> Tensor:
        long = self.chain(x, f"{name}.branch1", (192, 1), (224, (1, 3), 1, (0, 1)), (256, (3, 1), 1, (1, 0)))
        return self.block(x, name, scale, [self.conv(x, f"{name}.branch0", 192, 1), long], activated)

    def logits(self, images: Array) -> Array:
        """Run over images (N, height, width, 3) in [-1, 1]."""
        x = self.conv(tf.constant(images), "conv2d_1a", 32, 3, 2)
        x = self.conv(x, "conv2d_2a", 32, 3)
        x = self.conv(x, "conv2d_2b", 64, 3, 1, 1)
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = self.conv(x, "conv2d_3b", 80, 1)
        x = self.conv(x, "conv2d_4a", 192, 3)
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        branches = [
            self.conv(x, "mixed_5b.branch0", 96, 1),
            self.chain(x, "mixed_5b.branch1", (48, 1), (64, 5, 1, 2)),
            self.chain(x, "mixed_5b.branch2", (64, 1), (96, 3, 1, 1), (96, 3, 1, 1)),
            self.conv(average_without_padding(x), "mixed_5b.branch3.1", 64, 1),
        ]
        x = tf.concat(branches, 3)
        for i in range(10):
            x = self.block35(x, f"repeat.{i}")
        branches = [
            self.conv(x, "mixed_6a.branch0", 384, 3, 2),
            self.chain(x, "mixed_6a.branch1", (256, 1), (256, 3, 1, 1), (384, 3, 2)),
            tf.nn.max_pool2d(x, 3, 2, "VALID"),
        ]
        x = tf.concat(branches, 3)
        for i in range(20):
            x = self.block17(x, f"repeat_1.{i}")
        branches = [
            self.chain(x, "mixed_7a.branch0", (256, 1), (384, 3, 2)),
            self.chain(x, "mixed_7a.branch1", (256, 1), (288, 3, 2)),
            self.chain(x, "mixed_7a.branch2", (256, 1), (288, 3, 1, 1), (320, 3, 2)),
            tf.nn.max_pool2d(x, 3, 2, "VALID"),
        ]
        x = tf.concat(branches, 3)
        for i in range(9):
            x = self.block8(x, f"repeat_2.{i}", 0.20)
        x = self.block8(x, "block8", 1.0, activated=False)
        x = self.conv(x, "conv2d_7b", 1536, 1)
        features = tf.reduce_mean(x, (1, 2))
        kernel = self.arrays.kernel("classif.weight", (self.classes, 1536), 1536)
        return np.asarray(features @ kernel.T + self.arrays.shift("classif.bias", self.classes))


def padded(x: Tensor, padding: Any) -> Tensor:
    """Put zeros around images, as PyTorch's convolutions do."""
    height, width = padding if isinstance(padding, tuple) else (padding, padding)
    return tf.pad(x, [(0, 0), (height, height), (width, width), (0, 0)])


def average_without_padding(x: Tensor) -> Tensor:
    """AvgPool2d(3, stride=1, padding=1, count_include_pad=False)."""
    total = tf.nn.avg_pool2d(padded(x, 1), 3, 1, "VALID")
    count = tf.nn.avg_pool2d(padded(tf.ones_like(x), 1), 3, 1, "VALID")
    return total / count
