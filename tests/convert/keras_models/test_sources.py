"""Where networks come from: what is refused before TensorFlow is loaded, and what an artifact is called."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import pytest

from convert.errors import SourceError
from convert.keras_models.sources import MODEL_FILE, NETWORKS_OF_WEIGHTS, SAVED_MODEL, TFLITE, WEIGHTS_FILE, ModelSource
from convert.keras_models.weight_formats import TABLE_END
from convert.keras_models.weights.architectures import ARCHITECTURES
from edge_runtime.hashing import file_sha256


def empty(folder: Path, name: str) -> Path:
    (folder / name).write_bytes(b"")
    return folder / name


def hdf5(folder: Path, name: str) -> Path:
    """An HDF5 file without a model."""
    h5py.File(folder / name, "w").close()
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
        (ModelSource(weights=Path("mine.ckpt.index")), "mine"),
        (ModelSource(weights=Path("mine.ckpt-7.index")), "mine.ckpt-7"),
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
    for name in ("a.weights.h5", "a", "a.onnx"):
        ModelSource(weights=hdf5(tmp_path, name)).check()
    ModelSource().check()
    ModelSource("imagenet").check()


def whole_model(folder: Path, name: str) -> Path:
    with h5py.File(folder / name, "w") as file:
        file.attrs["model_config"] = "{}"
    return folder / name


@pytest.mark.parametrize("name", ["a.keras", "a.h5", "a.hdf5", "A.KERAS", "mine", "mine.onnx"])
def test_a_whole_model_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    source = ModelSource(str(whole_model(tmp_path, name)))
    source.check()
    assert source.origin == MODEL_FILE


def test_weights_alone_given_as_a_model_are_weights(tmp_path: Path) -> None:
    source = ModelSource(str(hdf5(tmp_path, "a.keras")), classes=3, architecture="article", input_size=75)
    source.check()
    assert source.origin == WEIGHTS_FILE
    with pytest.raises(SourceError, match="--input-size 74 is too small"):
        ModelSource(str(hdf5(tmp_path, "a.keras")), input_size=74).check()


def test_graphs_are_origins_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "graph.pb").write_bytes(b"....TFL3....")
    (tmp_path / "saved").mkdir()
    empty(tmp_path / "saved", "saved_model.pb")
    for name, origin in (("graph.pb", TFLITE), ("saved", SAVED_MODEL)):
        source = ModelSource(str(tmp_path / name))
        source.check()
        assert source.origin == origin
        with pytest.raises(SourceError, match="--classes 3 goes with --weights"):
            ModelSource(str(tmp_path / name), classes=3).check()


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    source = ModelSource(str(tmp_path / "missing.keras"))
    assert source.origin == MODEL_FILE
    with pytest.raises(SourceError, match=r"model .*missing\.keras does not exist: pass demo, imagenet or the path"):
        source.check()


def test_a_file_of_another_format_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"model\.keras is an empty file: copy or download it again"):
        ModelSource(str(empty(tmp_path, "model.keras"))).check()


def test_weights_exclude_another_model(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"and --model imagenet are two networks: pass only one of them"):
        ModelSource("imagenet", weights=hdf5(tmp_path, "a.h5"), classes=3).check()


def test_architectures_are_those_of_weights(tmp_path: Path) -> None:
    weights = hdf5(tmp_path, "a.h5")
    assert set(NETWORKS_OF_WEIGHTS) == set(ARCHITECTURES)
    for name in NETWORKS_OF_WEIGHTS:
        ModelSource(weights=weights, architecture=name).check()
    with pytest.raises(SourceError, match="--architecture vgg is unknown: pass article or keras-applications"):
        ModelSource(weights=weights, architecture="vgg").check()
    with pytest.raises(SourceError, match="--architecture article goes with --weights FILE: a whole model knows"):
        ModelSource(architecture="article").check()


def test_a_checkpoint_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    index = tmp_path / "model.ckpt-7.index"
    index.write_bytes(b"table" + TABLE_END)
    data = [empty(tmp_path, f"model.ckpt-7.data-0000{i}-of-00002") for i in (1, 0)]
    other = empty(tmp_path, "model.ckpt-70.data-00000-of-00001")
    for given in (index, tmp_path / "model.ckpt-7", *data):
        source = ModelSource(weights=given)
        source.check()
        assert source.files == (index, data[1], data[0])
        assert source.name == "model.ckpt-7"
    before = ModelSource(weights=index).sha256()
    other.write_bytes(b"not of this one")
    assert ModelSource(weights=index).sha256() == before
    data[0].write_bytes(b"other weights")
    assert ModelSource(weights=index).sha256() != before


def test_a_single_file_is_hashed_as_it_is(tmp_path: Path) -> None:
    weights = hdf5(tmp_path, "a.h5")
    assert ModelSource(weights=weights).sha256() == file_sha256(weights)
    assert ModelSource(str(weights)).sha256() == file_sha256(weights)
    assert ModelSource().sha256() is None


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
        ModelSource(weights=hdf5(tmp_path, "a.h5"), classes=1).check()


def test_file_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content" * 1_000_000)
    assert file_sha256(path) == hashlib.sha256(b"content" * 1_000_000).hexdigest()
