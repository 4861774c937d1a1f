"""Formats of weights files, told from what is in them."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from convert.keras_models.weight_formats import CHECKPOINT, HDF5, SAFETENSORS, weights_format
from tests.convert.keras_models.loading import error_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A name that tells nothing."""
    return tmp_path / "weights"


def test_hdf5(path: Path) -> None:
    h5py.File(path, "w").close()
    assert weights_format(path) == HDF5


def test_checkpoints_of_both_formats(path: Path) -> None:
    tf.raw_ops.Save(filename=str(path), tensor_names=["a"], data=[tf.ones(3)])
    assert weights_format(path) == CHECKPOINT
    tf.raw_ops.SaveV2(prefix=str(path), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.ones(3)])
    assert weights_format(path.with_name("weights.index")) == CHECKPOINT


def test_safetensors(path: Path) -> None:
    save_file({"a": np.ones(3, np.float32)}, path)
    assert weights_format(path) == SAFETENSORS


def test_pickles_of_pytorch_are_never_opened(path: Path) -> None:
    path.write_bytes(pickle.dumps({"conv2d_1a.conv.weight": 1}))
    old = error_of(lambda: weights_format(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n")
    assert error_of(lambda: weights_format(path)) == old
    assert old == (
        f"{path} is a pickle of PyTorch, which runs code when it is opened: save its weights without code, with "
        "safetensors.torch.save_file(model.state_dict(), 'NAME.safetensors')"
    )


def test_what_is_no_weights_file_says_what_to_pass(path: Path, tmp_path: Path) -> None:
    assert error_of(lambda: weights_format(path)).startswith(f"weights {path} does not exist: pass the path of an .h5")
    assert f"is a folder: pass a file in it, or the whole model as --model {tmp_path}" in error_of(
        lambda: weights_format(tmp_path)
    )
    path.write_bytes(b"")
    assert "is not a weights file: pass HDF5 of Keras (.h5)" in error_of(lambda: weights_format(path))
    path.write_bytes(b"\xff" * 7 + b"\x00{" + b"x" * 99)  # a header longer than the file
    assert "is not a weights file" in error_of(lambda: weights_format(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    assert f"is not weights alone: pass a whole Keras model as --model {path}" in error_of(lambda: weights_format(path))
    for mode in ("w", "w:gz"):
        with tarfile.open(path, mode) as tar:
            tar.add(__file__, "inception_resnet_v2.ckpt")
        assert "is an archive: unpack it, and pass the .ckpt" in error_of(lambda: weights_format(path))
    for name in ("model.ckpt.meta", "model.ckpt.data-00000-of-00001"):
        part = tmp_path / name
        part.write_bytes(b"part")
        assert "is a part of a checkpoint: pass its .index file" in error_of(lambda part=part: weights_format(part))
    named = tmp_path / "checkpoint"
    named.write_text('model_checkpoint_path: "model.ckpt-7"\n')
    assert "only names a checkpoint: pass the .index file beside it" in error_of(lambda: weights_format(named))
