"""What a file is told by: its content, whatever it is called."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from convert.errors import SourceError
from convert.keras_models import formats
from convert.keras_models.formats import recognize, refuse
from convert.keras_models.weight_formats import TABLE_END


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_DOT_", "."), content)
    return buffer.getvalue()


def hdf5(**attributes: str) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(attributes)
    return buffer.getvalue()


SAFETENSORS = (2).to_bytes(8, "little") + b"{}"


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.tflite", "model.onnx", "model"])
@pytest.mark.parametrize(
    ("content", "holds"),
    [
        (hdf5(model_config="{}"), formats.MODEL),
        (hdf5(), formats.WEIGHTS),
        (zipped(config_DOT_json=b"{}", metadata_DOT_json=b"{}"), formats.MODEL),
        (b"\x1c\0\0\0TFL3" + bytes(20), formats.TFLITE),
        (SAFETENSORS, formats.WEIGHTS),
        (b"table" + TABLE_END, formats.WEIGHTS),
    ],
    ids=["HDF5 model", "HDF5 weights", "zip", "TFLite", "safetensors", "checkpoint"],
)
def test_what_can_be_read_is_known_by_its_content(name: str, content: bytes, holds: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert recognize(tmp_path / name).holds == holds


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(2))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.pt",
            zipped(archive__data_DOT_pkl=b""),
            "is a PyTorch file: export it to a float .tflite with litert-torch",
        ),
        ("a.pth", pickle.dumps({}), "is a PyTorch file: export it to a float .tflite with litert-torch"),
        ("a.pkl", pickle.dumps({}), "is a pickle, which is code and is not run: save it where it was made"),
        ("a.onnx", b"\x08\x07\x12\x07pytorch", "is an ONNX model: convert it to a float .tflite with onnx2tf"),
        ("a.h5", b"\x08\x07\x12\x07pytorch", "is an ONNX model: convert it to a float .tflite with onnx2tf"),
        ("a.npz", npz(), "is a NumPy archive: save it where it was made with model.save('NAME.keras')"),
        ("a.keras", zipped(notes_DOT_txt=b""), "is a zip archive, and not a Keras model: save it"),
        ("a.zip", zipped(mine__saved_model_DOT_pb=b""), "is a zipped SavedModel: unpack it"),
        ("a.keras", zipped(config_DOT_json=b"{}")[:-9], "is a zip archive that is damaged: copy or download it again"),
        ("a.h5", b"", "is an empty file: copy or download it again"),
        ("a.h5", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer: run git lfs pull"),
        ("a.h5", b"<!DOCTYPE html><html><head>", "is a web page: copy or download it again"),
        ("a.tgz", b"\x1f\x8b" + bytes(9), "is an archive: unpack it"),
        ("a.pb", b"\n\x0b", "is a frozen graph: pass the folder of its SavedModel"),
        ("model.json", b'{"class_name": "Functional"}', "is a JSON file without weights: save it"),
        ("a.h5", b"something", "is a file in no format that irv2-convert reads: save it where it was made"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = recognize(path)
    assert not found.holds
    assert str(refuse(path, found)).startswith(f"{path} {message}")


@pytest.mark.parametrize(
    ("members", "holds", "name"),
    [
        (["saved_model.pb", "variables"], formats.SAVED_MODEL, "SavedModel"),
        (["saved_model.pbtxt"], formats.SAVED_MODEL, "SavedModel"),
        (["checkpoint", "m.ckpt.index", "m.ckpt.data-00000-of-00001"], formats.WEIGHTS, "TensorFlow checkpoint"),
        (["config.json", "metadata.json", "model.weights.h5"], "", "unpacked .keras file"),
        (["model.json", "group1-shard1of1.bin"], "", "TensorFlow.js model"),
        (["a.png"], "", "folder"),
        ([], "", "folder"),
    ],
)
def test_folders_are_known_by_what_is_in_them(members: list[str], holds: str, name: str, tmp_path: Path) -> None:
    for member in members:
        (tmp_path / member).touch()
    found = recognize(tmp_path)
    assert (found.holds, found.name) == (holds, name)


def test_files_of_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "m.ckpt.index").write_bytes(b"table" + TABLE_END)
    (tmp_path / "m.ckpt.data-00000-of-00001").write_bytes(bytes(100))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "m.ckpt"')
    for name in ("m.ckpt.index", "m.ckpt.data-00000-of-00001", "m.ckpt", "checkpoint"):
        assert recognize(tmp_path / name).name == "TensorFlow checkpoint"


def test_a_damaged_hdf5_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(hdf5(model_config="{}")[:300])
    with pytest.raises(SourceError, match="is not an HDF5 file or is damaged"):
        recognize(path)
