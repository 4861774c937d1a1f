"""What a job refuses before anything slow starts, and what it fills in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from convert.checking import check
from convert.errors import ImageSetError, QuantizationError, SourceError
from convert.job import Job
from convert.keras_models.sources import ModelSource
from convert.keras_models.weight_formats import HDF5_START
from convert.quantization.schemes import SCHEMES
from tests.conftest import save_colour_pictures
from tests.convert.own_model import own_job


@pytest.fixture
def own(tmp_path: Path) -> Job:
    return own_job(tmp_path)


def test_the_demo_needs_nothing() -> None:
    inputs = check(Job(ModelSource(), (SCHEMES["int8"],)))
    assert inputs.calibration is not None
    assert inputs.validation is not None
    assert (len(inputs.calibration), len(inputs.validation)) == (100, 1000)
    assert inputs.preprocessing == "tf"
    assert inputs.labels is None
    assert inputs.io == {"int8": "uint8"}


def test_sets_are_shuffled_and_cut(own: Job) -> None:
    inputs = check(replace(own, calibration_size=7, validation_size=4))
    assert inputs.calibration is not None
    assert inputs.validation is not None
    assert (len(inputs.calibration), len(inputs.validation)) == (7, 4)
    assert len({path.parent.name for path in inputs.calibration.paths}) > 1


def test_what_labels_and_folders_were_taken_for_is_noted(own: Job, tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"red": 2, "green": 0, "blue": 1}))
    assert own.validation is not None
    (own.validation / "red" / "1.HEIC").touch()
    inputs = check(replace(own, labels=labels))
    assert inputs.labels == ("green", "blue", "red")
    recognised, left_out = inputs.notes
    assert recognised == "labels.json: 3 labels, class_indices dictionary"
    assert "1 file not looked at, since only images can be read (.HEIC)" in left_out


def test_folders_called_by_wordnet_numbers_get_their_labels(own: Job, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("n00000001 red\nn00000002 green\nn00000003 blue\n")
    assert own.validation is not None
    (own.validation / "green").rename(own.validation / "n00000002")
    inputs = check(replace(own, labels=labels))
    assert inputs.validation is not None
    assert set(inputs.validation.folders or ()) == {"red", "green", "blue"}


def test_overlap_is_looked_for_in_the_whole_sets(own: Job) -> None:
    """Also where the images in use happen to differ: another size would use others."""
    assert own.calibration is not None
    assert own.validation is not None
    (own.validation / "red" / "copy.png").write_bytes((own.calibration / "red" / "000.png").read_bytes())
    for size in (1, 100):
        with pytest.raises(ImageSetError, match="share an image"):
            check(replace(own, calibration_size=size, validation_size=1))


def test_schemes_without_calibration_need_no_images(own: Job) -> None:
    job = replace(own, schemes=(SCHEMES["none"], SCHEMES["float16"]), calibration=None)
    assert check(job).calibration is None
    assert check(replace(job, validate=False, validation=None)).validation is None


def test_calibration_images_of_ones_own_model_are_asked_for(own: Job) -> None:
    with pytest.raises(ImageSetError, match=r"scheme int8, int16x8 needs images like those mine will see.*--calibrat"):
        check(replace(own, calibration=None, schemes=(SCHEMES["none"], SCHEMES["int8"], SCHEMES["int16x8"])))
    with pytest.raises(ImageSetError, match=r"drift of mine .*pass --validation DIR, or --no-validate"):
        check(replace(own, validation=None))
    with pytest.raises(ImageSetError, match=r"pass --calibration DIR, and other images as --validation DIR, or --no-v"):
        check(replace(own, calibration=None, validation=None))
    with pytest.raises(ImageSetError, match=r"image folder wrong does not exist"):
        check(replace(own, calibration=Path("wrong"), validation=None))


@pytest.mark.parametrize("source", [ModelSource("imagenet"), ModelSource(weights=Path("a.h5"), classes=3)])
def test_the_bundled_images_serve_the_demo_only(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.h5").write_bytes(HDF5_START)
    with pytest.raises(ImageSetError, match="the bundled ones serve the demo only"):
        check(Job(source, (SCHEMES["int8"],), preprocessing="tf"))


def test_preprocessing_of_ones_own_model_is_asked_for(own: Job) -> None:
    """A whole model may say it itself, which is found when it is loaded; weights cannot."""
    weights = Path(own.source.model).with_suffix(".h5")
    weights.write_bytes(HDF5_START)
    with pytest.raises(
        SourceError,
        match=r"mine\.h5 does not say .* pass --preprocessing, or write it into irv2\.toml, as in training: tf",
    ):
        check(replace(own, source=ModelSource(weights=weights, classes=3), preprocessing=None))  # 18 images are too few
    enough = save_colour_pictures(Path(own.source.model).parent / "enough", 7, seed=3)
    assert check(replace(own, source=ModelSource(weights=weights, classes=3), preprocessing=None, validation=enough))
    with pytest.raises(
        SourceError, match=r"--preprocessing imagenet is neither tf, caffe, torch, unit, none nor a JSON"
    ):
        check(replace(own, preprocessing="imagenet"))


def test_the_model_is_looked_at_first(own: Job) -> None:
    """Nobody should collect images for a model that cannot be loaded."""
    with pytest.raises(SourceError, match=r"missing\.keras does not exist"):
        check(Job(ModelSource("missing.keras"), (SCHEMES["int8"],)))


def test_ends_are_checked_for_every_scheme(own: Job) -> None:
    schemes = (SCHEMES["int8"], SCHEMES["float16"])
    assert check(replace(own, schemes=schemes)).io == {"int8": "uint8", "float16": "float32"}
    with pytest.raises(QuantizationError, match="scheme float16 has none"):
        check(replace(own, schemes=schemes, io="uint8"))


def test_calibration_images_that_are_not_used_are_said(own: Job) -> None:
    inputs = check(replace(own, calibration_size=7))
    assert inputs.calibration is not None
    assert [note for note in inputs.notes if note.startswith(f"calibration uses 7 of the {inputs.available} images of")]
    assert f"--calibration-size {inputs.available} uses all" in inputs.notes[-1]
    assert not [note for note in check(replace(own, calibration_size=inputs.available)).notes if "uses" in note]
