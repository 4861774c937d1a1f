"""Where networks come from: what is refused before TensorFlow is loaded, and what an artifact is called."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from convert.errors import SourceError
from convert.keras_models.sources import ModelSource
from edge_runtime.hashing import file_sha256


def empty(folder: Path, name: str) -> Path:
    (folder / name).write_bytes(b"")
    return folder / name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (ModelSource(), "irv2-demo"),
        (ModelSource("imagenet"), "irv2-imagenet"),
        (ModelSource("somewhere/colours.keras"), "colours"),
        (ModelSource("colours.v2.h5"), "colours.v2"),
        (ModelSource(weights=Path("somewhere/mine.weights.h5"), classes=3), "mine"),
        (ModelSource(weights=Path("mine.h5"), classes=3), "mine"),
        (ModelSource(".keras"), "model"),
        (ModelSource(weights=Path(".weights.h5"), classes=3), "model"),
    ],
)
def test_artifacts_are_called_after_their_source(source: ModelSource, name: str) -> None:
    assert source.name == name


def test_preprocessing_is_known_of_our_own_only() -> None:
    assert ModelSource().is_ours
    assert ModelSource("imagenet").is_ours
    assert not ModelSource("demo.keras").is_ours
    assert not ModelSource(weights=Path("demo.h5"), classes=3).is_ours


def test_files_behind_a_source() -> None:
    assert ModelSource().file is None
    assert ModelSource("a.keras").file == Path("a.keras")
    assert ModelSource(weights=Path("a.h5"), classes=3).file == Path("a.h5")


def test_existing_files_of_the_right_kind_pass(tmp_path: Path) -> None:
    for name in ("a.keras", "a.h5", "a.hdf5", "A.KERAS", "b.ckptx.keras"[2:]):
        ModelSource(str(empty(tmp_path, name))).check()
    for name in ("a.weights.h5", "a.h5", "a.H5"):
        ModelSource(weights=empty(tmp_path, name), classes=3).check()
    ModelSource().check()
    ModelSource("imagenet").check()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.keras", r"model .*missing\.keras does not exist: pass demo, imagenet or the path"),
        ("model.onnx", r"model .*model\.onnx is not a Keras file: it must end in \.keras or \.h5"),
        ("model", r"model .*model is not a Keras file"),
        ("saved_model", r"saved_model is a folder: "),
        ("model.ckpt", r"TensorFlow checkpoint, which is not supported"),
        ("model.ckpt-1000.index", r"TensorFlow checkpoint"),
        ("model.ckpt-1000.data-00000-of-00001", r"TensorFlow checkpoint"),
        ("checkpoint", r"TensorFlow checkpoint"),
        ("variables", r"TensorFlow checkpoint"),
    ],
)
def test_files_that_cannot_be_loaded_are_refused(name: str, message: str, tmp_path: Path) -> None:
    if name == "saved_model":
        (tmp_path / name).mkdir()
    elif name == "variables":
        empty(tmp_path, "variables.index")
    elif name != "missing.keras":
        empty(tmp_path, name)
    with pytest.raises(SourceError, match=message):
        ModelSource(str(tmp_path / name)).check()


def test_weights_need_classes_and_exclude_another_model(tmp_path: Path) -> None:
    weights = empty(tmp_path, "a.weights.h5")
    with pytest.raises(SourceError, match="needs --classes N"):
        ModelSource(weights=weights).check()
    with pytest.raises(SourceError, match=r"--model imagenet is another network: pass only one of them"):
        ModelSource("imagenet", weights=weights, classes=3).check()
    with pytest.raises(SourceError, match=r"must end in \.h5"):
        ModelSource(weights=empty(tmp_path, "a.keras"), classes=3).check()


@pytest.mark.parametrize("model", ["demo", "imagenet"])
def test_whole_models_know_their_classes(model: str) -> None:
    with pytest.raises(SourceError, match="--classes 3 goes with --weights"):
        ModelSource(model, classes=3).check()


@pytest.mark.parametrize("model", ["demo", "imagenet"])
def test_images_too_small_for_the_network_are_refused(model: str) -> None:
    ModelSource(model, input_size=75).check()
    with pytest.raises(SourceError, match=r"--input-size 74 is too small: .* at least 75 pixels"):
        ModelSource(model, input_size=74).check()


def test_weights_of_one_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--classes 1 is too few: a classifier has at least 2"):
        ModelSource(weights=empty(tmp_path, "a.h5"), classes=1).check()


def test_file_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content" * 1_000_000)
    assert file_sha256(path) == hashlib.sha256(b"content" * 1_000_000).hexdigest()
