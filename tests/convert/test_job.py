"""What a job refuses before anything slow starts, and what it fills in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from convert.errors import ImageSetError, QuantizationError, SourceError
from convert.job import Job, check, read_labels
from convert.keras_models.sources import ModelSource
from convert.quantization.schemes import SCHEMES
from convert.statistics.verdict import Limits
from tests.conftest import save_colour_pictures


@pytest.fixture
def own(tmp_path: Path) -> Job:
    """A user's own model with images of its own."""
    model = tmp_path / "mine.keras"
    model.write_bytes(b"")
    return Job(
        ModelSource(str(model)),
        (SCHEMES["int8"],),
        preprocessing="tf",
        calibration=save_colour_pictures(tmp_path / "calibration", 5, seed=1),
        validation=save_colour_pictures(tmp_path / "validation", 6, seed=2),
    )


def test_the_demo_needs_nothing() -> None:
    inputs = check(Job(ModelSource(), (SCHEMES["int8"],)))
    assert inputs.calibration is not None
    assert inputs.validation is not None
    assert (len(inputs.calibration), len(inputs.validation)) == (100, 1000)
    assert inputs.preprocessing == "tf"
    assert inputs.labels is None
    assert inputs.io == {"int8": "uint8"}


def test_defaults_are_the_contracted_ones() -> None:
    assert Limits() == Limits(max_drop_pp=2.0, min_agreement=0.95)
    job = Job(ModelSource(), ())
    assert (job.output_dir, job.validate, job.io) == (Path("build"), True, None)


def test_sets_are_shuffled_and_cut(own: Job) -> None:
    inputs = check(replace(own, calibration_size=7, validation_size=4))
    assert inputs.calibration is not None
    assert inputs.validation is not None
    assert (len(inputs.calibration), len(inputs.validation)) == (7, 4)
    assert len({path.parent.name for path in inputs.calibration.paths}) > 1


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


@pytest.mark.parametrize("source", [ModelSource("imagenet"), ModelSource(weights=Path("a.h5"), classes=3)])
def test_the_bundled_images_serve_the_demo_only(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.h5").write_bytes(b"")
    with pytest.raises(ImageSetError, match="the bundled ones serve the demo only"):
        check(Job(source, (SCHEMES["int8"],), preprocessing="tf"))


def test_preprocessing_of_ones_own_model_is_asked_for(own: Job) -> None:
    with pytest.raises(SourceError, match=r"mine\.keras does not say .* pass --preprocessing tf\|caffe\|torch"):
        check(replace(own, preprocessing=None))
    with pytest.raises(SourceError, match=r"--preprocessing imagenet is neither tf, caffe, torch, none nor a JSON"):
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


def test_labels_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("T-shirt/top\r\n  Käfer \n\n猫\n".encode())
    assert read_labels(path) == ("T-shirt/top", "Käfer", "猫")


def test_a_byte_order_mark_is_no_part_of_a_label(tmp_path: Path) -> None:
    """Notepad writes one."""
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfcat\ndog\n")
    assert read_labels(path) == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: write one label a line"),
        (b" \n\n", "is empty"),
        (b"cat\ndog\ncat\n", "has 'cat' twice"),
        (b"\xff\xfe\x00", "cannot be read as UTF-8 text"),
    ],
)
def test_label_files_that_cannot_serve_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_labels(path)


def test_a_missing_label_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"--labels .*nowhere\.txt cannot be read"):
        read_labels(tmp_path / "nowhere.txt")
