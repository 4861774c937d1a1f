"""Train a small depthwise-separable network on Fashion-MNIST: a second network for benchmarks/accuracy.py.

    apt-get install dataset-fashion-mnist
    python scripts/train_depthwise.py --output benchmarks/depthwise.keras

Separable blocks as in MobileNet (Howard et al. 2017, arXiv:1704.04861, table 1), six of them, an eighth as wide,
with ReLU6: the kind of network whose channels differ so much that int8 is known to lose its accuracy.
"""

from __future__ import annotations

from pathlib import Path

import click
import keras
from keras import layers

from fashion_mnist import INSTALLED, read_split
from train_demo_weights import CLASSES, Batches, ShuffledBatches, upscale

SIZE = 56
BLOCKS = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2))
"""(filters, stride) of each."""


@click.command(help=__doc__)
@click.option("--steps", default=1500, show_default=True)
@click.option("--dataset", type=Path, default=INSTALLED, show_default=True)
@click.option("--output", type=Path, default=Path("benchmarks/depthwise.keras"), show_default=True)
def main(steps: int, dataset: Path, output: Path) -> None:
    keras.utils.set_random_seed(1)
    images, labels = read_split(dataset, "train")
    model = network()
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    training = ShuffledBatches(images[:-500], labels[:-500], SIZE, 64, steps)
    model.fit(training, validation_data=Batches(images[-500:], labels[-500:], SIZE, 50), verbose=2)
    test_images, test_labels = read_split(dataset, "t10k")
    right = model.predict(upscale(test_images[:2000], SIZE), verbose=0).argmax(axis=1) == test_labels[:2000]
    click.echo(f"top-1 on 2,000 test images: {right.mean():.2%}")
    model.save(output, include_optimizer=False)


def network() -> keras.Model:
    """56x56 images -> probabilities of 10 classes."""
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = unit(layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(image))
    for filters, stride in BLOCKS:
        x = unit(layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(x))
        x = unit(layers.Conv2D(filters, 1, use_bias=False)(x))
    return keras.Model(image, layers.Dense(CLASSES, "softmax")(layers.GlobalAveragePooling2D()(x)))


def unit(x: keras.KerasTensor) -> keras.KerasTensor:
    """Batch-norm and ReLU6."""
    return layers.ReLU(6)(layers.BatchNormalization()(x))


if __name__ == "__main__":
    main()
