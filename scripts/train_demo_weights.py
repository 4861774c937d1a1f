"""Train the demo network's batch-normalizations and dense layer on Fashion-MNIST.

    apt-get install dataset-fashion-mnist
    python scripts/train_demo_weights.py --size 139 --steps 6000 --output convert/keras_models/data/demo_weights.npz

Runs on any Keras backend (KERAS_BACKEND=tensorflow|jax|torch), at any size, shows its progress, and
goes on from its last checkpoint when it is started again with the same --checkpoint folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np

from convert.keras_models.demo_weights import set_random_kernels, set_trained_parameters
from convert.keras_models.inception_resnet_v2 import inception_resnet_v2, unit_names
from convert.keras_models.weights.stored_weights import NORMALIZATION_ARRAYS
from fashion_mnist import INSTALLED, Array, read_split

CLASSES = 10
BRANCH_GAMMA = 0.2


@click.command(help=__doc__)
@click.option("--size", default=299, show_default=True, help="Height and width of the images, pixels.")
@click.option("--steps", default=6000, show_default=True, help="Training steps in all.")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--learning-rate", default=1.5e-3, show_default=True, help="Adam's, at its peak; cosine decay.")
@click.option("--steps-per-epoch", default=250, show_default=True, help="Steps between two checkpoints.")
@click.option("--dataset", type=Path, default=INSTALLED, show_default=True)
@click.option("--start", type=Path, help="Demo weights to continue from.")
@click.option("--checkpoint", type=Path, default=Path("build/demo_checkpoint"), show_default=True)
@click.option("--output", type=Path, default=Path("convert/keras_models/data/demo_weights.npz"), show_default=True)
def main(
    size: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    steps_per_epoch: int,
    dataset: Path,
    start: Path | None,
    checkpoint: Path,
    output: Path,
) -> None:
    """Train, store the weights and print their accuracy."""
    keras.utils.set_random_seed(1)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    train_images, train_labels = read_split(dataset, "train")
    held_out = Batches(train_images[-500:], train_labels[-500:], size, 50)
    training = ShuffledBatches(train_images[:-500], train_labels[:-500], size, batch_size, steps_per_epoch)

    model = inception_resnet_v2((size, size, 3), CLASSES)
    prepare(model, start)
    normalized = with_normalized_features(model, training if start else None)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 10, steps, warmup_target=learning_rate, warmup_steps=min(200, steps // 10)
    )
    normalized.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    checkpoint.mkdir(parents=True, exist_ok=True)
    normalized.fit(
        training,
        epochs=max(1, steps // steps_per_epoch),
        validation_data=held_out,
        callbacks=[keras.callbacks.BackupAndRestore(str(checkpoint), delete_checkpoint=False)],
        verbose=2,
    )
    fold_feature_normalization(normalized, model)
    save(model, output)
    evaluate(size, output, *read_split(dataset, "t10k"))


def upscale(images: Array, size: int) -> Array:
    """Upscale grey uint8 (N, 28, 28) to float32 (N, size, size, 3) in [-1, 1], bilinear with half-pixel centres."""
    position = np.clip((np.arange(size) + 0.5) * images.shape[1] / size - 0.5, 0, images.shape[1] - 1)
    below = np.minimum(position.astype(int), images.shape[1] - 2)
    weights = np.zeros((size, images.shape[1]), np.float32)
    weights[np.arange(size), below + 1] = position - below
    weights[np.arange(size), below] = 1 - (position - below)
    large = np.round(weights @ images.astype(np.float32) @ weights.T)
    return np.repeat((large / 127.5 - 1)[..., None], 3, axis=-1)


class Batches(keras.utils.PyDataset):
    """Batches of the images in order."""

    def __init__(self, images: Array, labels: Array, size: int, batch_size: int) -> None:
        super().__init__(workers=1)
        self.images, self.labels, self.size, self.batch_size = images, labels, size, batch_size

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return upscale(self.images[rows], self.size), self.labels[rows]


class ShuffledBatches(Batches):
    """Batches of images in random order, none repeated until all were seen."""

    def __init__(self, images: Array, labels: Array, size: int, batch_size: int, steps: int) -> None:
        super().__init__(images, labels, size, batch_size)
        self.steps, self.random = steps, np.random.default_rng()
        self.order = self._shuffled()

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        rows = np.array([next(self.order) for _ in range(self.batch_size)])
        return upscale(self.images[rows], self.size), self.labels[rows]

    def _shuffled(self) -> Iterator[int]:
        while True:
            yield from self.random.permutation(len(self.images))


def prepare(model: Any, start: Path | None) -> None:
    """Set and freeze random kernels; start from quiet residual branches, or from the weights of an earlier run."""
    set_random_kernels(model)
    for name in unit_names(model):
        model.get_layer(f"{name}_conv").trainable = False
    if start:
        set_trained_parameters(model, start)
        return
    for layer in model.layers:
        if isinstance(layer, keras.layers.Add):
            gamma = model.get_layer(layer.name.removesuffix("_add") + "_conv_bn_relu_bn").gamma
            gamma.assign(keras.ops.full(gamma.shape, BRANCH_GAMMA))


def with_normalized_features(model: Any, sample: Batches | None) -> Any:
    """Return `model` with a non-affine batch-normalization before its dense layer.

    With a `sample`, the normalization starts at the statistics of its images and the dense layer is
    changed to undo it: the function of `model` stays what it was.
    """
    features = keras.Model(model.input, model.get_layer("average_pool").output)
    normalization = keras.layers.BatchNormalization(center=False, scale=False, name="feature_norm")
    dense = keras.layers.Dense(CLASSES, activation="softmax", dtype="float32", name="trained_dense")
    x = keras.layers.Dropout(0.2)(normalization(features.output))
    normalized = keras.Model(model.input, dense(x))
    if sample is not None:
        pooled = np.concatenate([features.predict_on_batch(sample[i][0]) for i in range(16)]).astype(np.float32)
        mean, variance = pooled.mean(axis=0), pooled.var(axis=0)
        kernel, bias = model.get_layer("dense").get_weights()
        normalization.set_weights([mean, variance])
        dense.set_weights([kernel * np.sqrt(variance + normalization.epsilon)[:, None], bias + mean @ kernel])
    return normalized


def fold_feature_normalization(normalized: Any, model: Any) -> None:
    """Put the feature normalization of `normalized` into the dense layer of `model`."""
    layer = normalized.get_layer("feature_norm")
    mean, variance = layer.get_weights()
    kernel, bias = normalized.get_layer("trained_dense").get_weights()
    kernel = kernel / np.sqrt(variance + layer.epsilon)[:, None]
    model.get_layer("dense").set_weights([kernel, bias - mean @ kernel])


def save(model: Any, output: Path) -> None:
    """Write what `set_trained_parameters` reads; half precision for all but the batch-norm statistics."""
    arrays = dict(zip(("dense/kernel", "dense/bias"), model.get_layer("dense").get_weights(), strict=True))
    for name in unit_names(model):
        values = model.get_layer(f"{name}_bn").get_weights()
        arrays |= {f"{name}/{key}": value for key, value in zip(NORMALIZATION_ARRAYS, values, strict=True)}
    arrays = {name: value if "/moving_" in name else value.astype(np.float16) for name, value in arrays.items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(output, **arrays, size=np.int32(model.input_shape[1]))


def evaluate(size: int, weights: Path, images: Array, labels: Array) -> None:
    """Print the top-1 accuracy, in float32, of the stored weights on the first 2,000 test images."""
    keras.mixed_precision.set_global_policy("float32")
    model = inception_resnet_v2((size, size, 3), CLASSES)
    set_random_kernels(model)
    set_trained_parameters(model, weights)
    batches = Batches(images[:2000], labels[:2000], size, 50)
    answers = np.concatenate([model.predict_on_batch(batches[i][0]).argmax(axis=1) for i in range(len(batches))])
    click.echo(f"{weights}: float top-1 {np.mean(answers == labels[:2000]):.4f} on {len(answers):,} test images")


if __name__ == "__main__":
    main()
