"""The article's own script, as its readers ran it: a `Conv_Bn_Relu` layer class and the network made of it.

Written from the article's description, on purpose without `convert.keras_models.inception_resnet_v2`: it is the
other side of every comparison. Runs on Keras 3 and, with the same lines, on the tf.keras 2 of its time:
`python article.py FOLDER` saves randomised weights in the running Keras' own ways, and its predictions beside them.
Networks are `plain` if they leave the layer class out and take Keras' layers one after the other, and `unnamed` if they
leave the names to Keras.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

if os.environ.get("TF_USE_LEGACY_KERAS") == "1":
    from tensorflow import keras
else:
    import keras

SMALL: dict[str, Any] = {"size": 75, "classes": 10, "repeats": (2, 1, 1), "width": 0.125}
STRUCTURES = ("article", "plain")
NAMINGS = ("named", "unnamed")
SUFFIXES = (".h5", ".weights.h5")


class Conv_Bn_Relu(keras.layers.Layer):  # type: ignore[misc]
    """Convolution, batch-normalization and ReLU as one layer."""

    def __init__(self, filters: int, kernel_size: Any, strides: int = 1, padding: str = "same", **options: Any) -> None:
        super().__init__(**options)
        self.conv = keras.layers.Conv2D(filters, kernel_size, strides=strides, padding=padding)
        self.bn = keras.layers.BatchNormalization()
        self.relu = keras.layers.Activation("relu")

    def build(self, shape: Any) -> None:
        self.conv.build(shape)
        self.bn.build(self.conv.compute_output_shape(shape))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.relu(self.bn(self.conv(x), training=training))


class ArticleNetwork:
    """The functions of the script; `named` tells whether units carry names, or Keras makes them up."""

    def __init__(self, width: float, named: bool, plain: bool) -> None:
        self.width, self.named, self.plain = width, named, plain

    def unit(self, x: Any, name: str, filters: int, kernel: Any, strides: int = 1, padding: str = "same") -> Any:
        filters = max(1, round(filters * self.width))
        if not self.plain:
            return Conv_Bn_Relu(filters, kernel, strides, padding, **self.named_as(name))(x)
        x = keras.layers.Conv2D(filters, kernel, strides, padding, **self.named_as(f"{name}_conv"))(x)
        x = keras.layers.BatchNormalization(**self.named_as(f"{name}_bn"))(x)
        return keras.layers.Activation("relu", **self.named_as(name))(x)

    def named_as(self, name: str) -> dict[str, str]:
        return {"name": name} if self.named else {}

    def stem(self, x: Any) -> Any:
        x = self.unit(x, "stem_conv_bn_relu1", 32, 3, 2, "valid")
        x = self.unit(x, "stem_conv_bn_relu2", 32, 3, 1, "valid")
        x = self.unit(x, "stem_conv_bn_relu3", 64, 3)
        pooled = keras.layers.MaxPooling2D(3, 2, "valid")(x)
        x = self.unit(x, "stem_4_part2_conv_bn_relu1", 96, 3, 2, "valid")
        x = keras.layers.Concatenate()([pooled, x])
        part1 = self.unit(x, "stem_5_part1_conv_bn_relu1", 64, 1)
        part1 = self.unit(part1, "stem_5_part1_conv_bn_relu2", 96, 3, 1, "valid")
        part2 = self.unit(x, "stem_5_part2_conv_bn_relu1", 64, 1)
        part2 = self.unit(part2, "stem_5_part2_conv_bn_relu2", 64, (1, 7))
        part2 = self.unit(part2, "stem_5_part2_conv_bn_relu3", 64, (7, 1))
        part2 = self.unit(part2, "stem_5_part2_conv_bn_relu4", 96, 3, 1, "valid")
        x = keras.layers.Concatenate()([part1, part2])
        pooled = keras.layers.MaxPooling2D(3, 2, "valid")(x)
        x = self.unit(x, "stem_6_part2_conv_bn_relu1", 192, 3, 2, "valid")
        return keras.layers.Concatenate()([pooled, x])

    def branches(self, x: Any, name: str, parts: list[list[tuple[Any, ...]]], pooled: bool = False) -> Any:
        """Units side by side; parts are numbered from 1, a pooled first one included."""
        ends = [keras.layers.MaxPooling2D(3, 2, "valid")(x)] if pooled else []
        for part in parts:
            end, number = x, len(ends) + 1
            for index, arguments in enumerate(part, 1):
                end = self.unit(end, f"{name}_part{number}_conv_bn_relu{index}", *arguments)
            ends.append(end)
        return keras.layers.Concatenate()(ends)

    def residual(self, x: Any, name: str, parts: list[list[tuple[Any, ...]]], channels: int) -> Any:
        change = self.unit(self.branches(x, name, parts), f"{name}_conv_bn_relu", channels, 1)
        return keras.layers.Activation("relu")(keras.layers.Add()([x, change]))


def article_model(
    size: int = 299,
    classes: int = 1000,
    repeats: tuple[int, int, int] = (10, 20, 10),
    width: float = 1.0,
    named: bool = True,
    plain: bool = False,
) -> Any:
    """The article's network; without arguments, full size."""
    parts: list[list[tuple[Any, ...]]]
    net = ArticleNetwork(width, named, plain)
    image = keras.Input((size, size, 3))
    x = net.stem(image)
    for block in range(1, repeats[0] + 1):
        parts = [[(32, 1)], [(32, 1), (32, 3)], [(32, 1), (48, 3), (64, 3)]]
        x = net.residual(x, f"inception_resnet_A_{block}", parts, 384)
    down: tuple[Any, ...] = (3, 2, "valid")
    x = net.branches(x, "reduction_A", [[(384, *down)], [(256, 1), (256, 3), (384, *down)]], pooled=True)
    for block in range(1, repeats[1] + 1):
        parts = [[(192, 1)], [(128, 1), (160, (1, 7)), (192, (7, 1))]]
        x = net.residual(x, f"inception_resnet_B_{block}", parts, 1152)
    parts = [[(256, 1), (384, *down)], [(256, 1), (288, *down)], [(256, 1), (288, 3), (320, *down)]]
    x = net.branches(x, "reduction_B", parts, pooled=True)
    for block in range(1, repeats[2] + 1):
        parts = [[(192, 1)], [(192, 1), (224, (1, 7)), (256, (7, 1))]]
        x = net.residual(x, f"inception_resnet_C_{block}", parts, 2144)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(image, keras.layers.Dense(classes, activation="softmax")(x))


def randomise(model: Any, seed: int = 1) -> Any:
    """Give every weight a value of its own, batch-normalization statistics included; return `model`.

    Outputs stay far from saturation, so that two swapped layers move them by more than 0.001.
    """
    random = np.random.default_rng(seed)
    for weight in model.weights:
        name = weight.name.split("/")[-1].split(":")[0]
        if name == "kernel":
            fan_in = int(np.prod(weight.shape[:-1]))
            # The 1x1 convolution before a residual sum, the only one that widens; 40 sums must not explode.
            widens = tuple(weight.shape[:2]) == (1, 1) and weight.shape[3] > weight.shape[2]
            gain = 0.4 if widens else 1
            value = random.normal(0, gain * np.sqrt(1 / fan_in), weight.shape)
        elif name in ("gamma", "moving_variance"):
            value = random.uniform(0.5, 1.5, weight.shape)
        elif name in ("bias", "beta", "moving_mean"):
            value = random.normal(0, 0.2, weight.shape)
        else:
            continue
        weight.assign(value.astype("float32"))
    return model


def random_images(size: int, count: int = 3, seed: int = 2) -> npt.NDArray[np.float32]:
    """Images in [-1, 1] of coarse random tiles: unlike noise, pooling does not level them."""
    tiles = np.random.default_rng(seed).uniform(-1, 1, (count, 4, 4, 3)).astype(np.float32)
    tile = -(-size // 4)
    return tiles.repeat(tile, axis=1).repeat(tile, axis=2)[:, :size, :size]


def main(folder: Path) -> None:
    """Save small randomised weights in both layouts of the running Keras, and predictions beside them."""
    for structure, naming in itertools.product(STRUCTURES, NAMINGS):
        keras.backend.clear_session()  # names that Keras makes up count from the start, as in a process of its own
        model = randomise(article_model(**SMALL, named=naming == "named", plain=structure == "plain"))
        predictions = np.asarray(model(random_images(SMALL["size"]), training=False))
        for suffix in SUFFIXES:
            path = folder / f"{structure}-{naming}{suffix}"
            model.save_weights(str(path))
            np.save(f"{path}.npy", predictions)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
