"""Small classifiers of images as others write them: TensorFlow functions, and what TFLiteConverter makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

HEIGHT, WIDTH, CLASSES = 12, 10, 5
IMAGE = (1, HEIGHT, WIDTH, 3)
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)


def constant(*shape: int, seed: int = 0) -> Any:
    return tf.constant(np.random.default_rng([seed, *shape]).normal(0, 0.5, shape).astype(np.float32))


def features(x: Any) -> Any:
    """As converters from PyTorch leave them: padding of its own, convolutions with and without biases."""
    x = tf.nn.relu(tf.nn.conv2d(x, constant(3, 3, 3, 8), 1, "VALID"))
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    x = tf.nn.depthwise_conv2d(x, constant(3, 3, 8, 1), [1, 1, 1, 1], "VALID") + constant(8)
    return tf.nn.relu6(x) * tf.nn.sigmoid(x) + x


def pooled(x: Any) -> Any:
    return tf.reduce_mean(features(x), [1, 2])


def logits(x: Any, classes: int = CLASSES) -> Any:
    return tf.matmul(pooled(x), constant(8, classes)) + constant(classes, seed=1)


def channels_first(x: Any) -> Any:
    return tf.nn.softmax(logits(tf.transpose(x, [0, 2, 3, 1])))


def channels_first_and_padded(x: Any) -> Any:
    return channels_first(tf.pad(x, [[0, 0], [0, 0], [1, 1], [1, 1]]))


def computed_shape(x: Any) -> Any:
    x = features(x)
    flat = tf.reshape(x, [tf.shape(x)[0], 8 * x.shape[1] * x.shape[2]])
    return tf.nn.softmax(tf.matmul(flat, 0.2 * constant(8 * x.shape[1] * x.shape[2], CLASSES)))


def convolution_end(x: Any) -> Any:
    x = tf.nn.avg_pool2d(features(x), [HEIGHT - 2, WIDTH - 2], 1, "VALID")
    return tf.nn.softmax(tf.nn.conv2d(x, constant(1, 1, 8, CLASSES), 1, "VALID"))


def logarithms(x: Any) -> Any:
    return tf.nn.log_softmax(logits(x))


def written_out(x: Any) -> Any:
    z = logits(x)
    power = tf.exp(z - tf.reduce_max(z, 1, keepdims=True))
    return power / tf.reduce_sum(power, 1, keepdims=True)


def pixels(x: Any) -> Any:
    return tf.nn.softmax(logits((tf.cast(x, tf.float32) - MEAN) / STD))


def scaled_inside(x: Any) -> Any:
    return tf.nn.softmax(logits(x / 127.5 - 1))


@dataclass(frozen=True)
class Foreign:
    """A function of TensorFlow, the input it takes (None is open), and what it is expected to end in."""

    function: Callable[[Any], Any]
    shape: tuple[int | None, ...] = IMAGE
    head: str = "softmax"
    dtype: Any = tf.float32

    def tflite(self, *, half: bool = False) -> bytes:
        """Return what TFLiteConverter writes; `half`: with float16 constants."""
        function = tf.function(self.function, input_signature=[tf.TensorSpec(self.shape, self.dtype)])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], function)
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())

    def saved(self, folder: Path) -> Path:
        """Write it as a SavedModel of one signature."""
        module = tf.Module()
        spec = tf.TensorSpec(self.shape, self.dtype, name="picture")
        module.answer = tf.function(lambda picture: {"scores": self.function(picture)}, input_signature=[spec])
        tf.saved_model.save(module, str(folder), signatures={"classify": module.answer})
        return folder

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Return what it answers for images channels last, as a network of ours would, by NumPy from its own answer."""
        if self.shape[1] == 3:
            x = x.transpose(0, 3, 1, 2)
        answers = np.stack([np.asarray(self.function(tf.constant(image[np.newaxis]))).reshape(-1) for image in x])
        if self.function is logits or self.function is logarithms:
            answers = np.exp(answers - answers.max(axis=1, keepdims=True))
            return answers / answers.sum(axis=1, keepdims=True)
        return np.concatenate([1 - answers, answers], axis=1) if answers.shape[1] == 1 else answers


FOREIGN = {
    "channels first": Foreign(channels_first, (1, 3, HEIGHT, WIDTH)),
    "channels first and padded": Foreign(channels_first_and_padded, (1, 3, HEIGHT, WIDTH)),
    "any batch": Foreign(lambda x: tf.nn.softmax(logits(x)), (None, HEIGHT, WIDTH, 3)),
    "any batch, a shape that is computed": Foreign(computed_shape, (None, HEIGHT, WIDTH, 3)),
    "a vector": Foreign(lambda x: tf.reshape(tf.nn.softmax(logits(x)), [CLASSES])),
    "a convolution at the end": Foreign(convolution_end),
    "logits": Foreign(logits),
    "logarithms": Foreign(logarithms),
    "a softmax written out": Foreign(written_out),
    "one sigmoid": Foreign(lambda x: tf.nn.sigmoid(logits(x, 1)), head="binary"),
    "one sigmoid of a sum": Foreign(lambda x: tf.nn.sigmoid(tf.reduce_sum(logits(x), 1)), head="binary"),
    "several sigmoids": Foreign(lambda x: tf.nn.sigmoid(logits(x)), head="independent"),
}


def images(count: int = 4) -> np.ndarray:
    """Normalized images, float32, of whole pixels."""
    return np.random.default_rng(5).integers(0, 256, (count, HEIGHT, WIDTH, 3)).astype(np.float32) / 127.5 - 1


def pictures(folder: Path, count: int) -> Path:
    """Write pictures of slow gradients, and return their folder."""
    folder.mkdir()
    random = np.random.default_rng(count)
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(folder / f"{i:03}.png")
    return folder
