"""TF-Slim's and timm's weights of Inception-ResNet-V2 answer as their networks do."""

from __future__ import annotations

import functools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from convert.keras_models.heads import before_activation
from convert.keras_models.loader import LoadedModel
from convert.keras_models.weights.weight_files import open_weights
from convert.statistics.metrics import sqnr_db
from edge_runtime.arrays import Array
from tests.convert.keras_models.loading import IMAGES, error_of, predict
from tests.convert.keras_models.weights.in_little import load
from tests.convert.keras_models.weights.keras_2_layout import (
    save_checkpoint,
)
from tests.convert.keras_models.weights.published_networks import Slim, Timm


@functools.cache
def slim() -> tuple[Slim, Array]:
    network = Slim()
    return network, network.logits(IMAGES)


@functools.cache
def timm() -> tuple[Timm, Array]:
    network = Timm()
    return network, network.logits(IMAGES)


def logits_of(loaded: LoadedModel) -> Array:
    model = loaded.model
    return predict(keras.Model(model.input, before_activation(model.outputs[0])))


def assert_answers(loaded: LoadedModel, expected: Array) -> None:
    assert sqnr_db(expected, logits_of(loaded)) > 100
    assert np.ptp(expected, axis=0).max() > 0.1, "the answers depend on the image"


OTHERS = {
    "global_step": tf.constant(7, tf.int64),
    "InceptionResnetV2/AuxLogits/Logits/weights": tf.ones((768, 1001)),
    "InceptionResnetV2/AuxLogits/Conv2d_1b_1x1/weights": tf.ones((1, 1, 1088, 128)),
    "InceptionResnetV2/Conv2d_1a_3x3/weights/RMSProp": tf.ones((3, 3, 3, 32)),
}
"""What a checkpoint of training holds beside the network."""


@pytest.mark.usefixtures("in_full")
def test_slim_checkpoint(tmp_path: Path, path: Path) -> None:
    network, expected = slim()
    checkpoint = tmp_path / "inception_resnet_v2_2016_08_30.ckpt"
    save_checkpoint(checkpoint, {name: tf.constant(value) for name, value in network.arrays.values.items()} | OTHERS)
    loaded = load(checkpoint)
    assert loaded.recognized.endswith(
        ": weights of keras.applications' InceptionResNetV2 with top, saved by TF-Slim, 1001 classes with background "
        "as class 0; activation softmax assumed: weights do not tell"
    )
    assert loaded.labels == ("background", *map(str, range(1, 1001)))
    assert_answers(loaded, expected)


def test_slim_checkpoint_of_the_first_format(tmp_path: Path, path: Path) -> None:
    arrays = slim()[0].arrays.values
    file = tmp_path / "inception_resnet_v2_2016_08_30.ckpt"
    tensors = {name: tf.constant(value) for name, value in arrays.items()} | OTHERS
    tf.raw_ops.Save(filename=str(file), tensor_names=list(tensors), data=list(tensors.values()))
    with open_weights(file) as stored:
        read = [array.read() for layer in stored.layers for array in layer.arrays.values()]
    assert len(read) == len(arrays)
    assert sum(float(array.sum()) for array in read) == sum(float(array.sum()) for array in arrays.values())


def test_slim_checkpoint_without_a_layer_or_its_data(tmp_path: Path, path: Path) -> None:
    arrays = {name: tf.zeros(value.shape) for name, value in slim()[0].arrays.values.items()}
    del arrays["InceptionResnetV2/Repeat_1/block17_2/Branch_1/Conv2d_0b_1x7/weights"]
    save_checkpoint(tmp_path / "half.ckpt", arrays)
    assert error_of(lambda: load(tmp_path / "half.ckpt")) == (
        f"{tmp_path}/half.ckpt.index has no InceptionResnetV2/Repeat_1/block17_2/Branch_1/Conv2d_0b_1x7, TF-Slim's "
        "network has one: pass a checkpoint of the whole network"
    )
    save_checkpoint(tmp_path / "other.ckpt", {"vgg_16/conv1/weights": tf.ones((3, 3, 3, 8))})
    assert "is a checkpoint of another network" in error_of(lambda: load(tmp_path / "other.ckpt"))
    (tmp_path / "half.ckpt.data-00000-of-00001").unlink()
    message = error_of(lambda: load(tmp_path / "half.ckpt.index"))
    assert "block17_2" in message or "lacks its .data files beside it" in message


@pytest.mark.usefixtures("in_full")
def test_timm_safetensors(tmp_path: Path, path: Path) -> None:
    network, expected = timm()
    file = tmp_path / "model.safetensors"
    arrays = {name: value.astype(np.float16) for name, value in network.arrays.values.items()}
    counters = {
        name.replace("running_var", "num_batches_tracked"): np.array(3) for name in arrays if "running_var" in name
    }
    save_file({f"module.{name}": value for name, value in (arrays | counters).items()}, file)
    loaded = load(file)
    assert loaded.recognized == (
        "model.safetensors: weights of keras.applications' InceptionResNetV2 with top, saved by timm, 1000 classes; "
        "activation softmax assumed: weights do not tell"
    )
    assert loaded.labels is None
    assert_answers(loaded, expected)


def test_safetensors_that_do_not_do(tmp_path: Path, path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"conv1.weight": np.ones((8, 3, 7, 7), np.float32)}, file)
    assert "has none of the arrays of timm's inception_resnet_v2" in error_of(lambda: load(file))
    save_file({"conv2d_1a.conv.weight": np.ones((32, 3, 3, 3), np.float32)}, file)
    assert error_of(lambda: load(file)) == (
        f"{file} has no conv2d_1a.bn.weight, timm's inception_resnet_v2 has one: pass its whole state_dict()"
    )
    arrays = {name: np.zeros(value.shape, np.float16) for name, value in timm()[0].arrays.values.items()}
    save_file(arrays | {"attention.weight": np.zeros(3, np.float32)}, file)
    assert "has attention.weight, timm's inception_resnet_v2 has no such array" in error_of(lambda: load(file))
    file.write_bytes(file.read_bytes()[:-8])
    assert "is not a safetensors file or is damaged" in error_of(lambda: load(file))
