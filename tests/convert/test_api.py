"""The Python API: what it promises to keep, that it costs nothing to import, and a conversion as a notebook does it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import convert
from convert import ModelSource, Outcome, audit_model, convert_model, inception_resnet_v2, measure_drift
from convert.errors import ImageSetError, SourceError
from convert.images.dataset import find_images
from convert.images.folder import image_folder
from edge_runtime import Classifier
from tests.conftest import COLOURS

STABLE = {
    *("DriftRun", "Inspection", "Limits", "ModelSource", "Outcome"),
    *("audit_model", "convert_model", "inception_resnet_v2", "measure_drift", "progress_bar"),
}


def test_these_names_are_stable() -> None:
    assert set(convert.__all__) == STABLE
    assert convert.__all__ == sorted(convert.__all__)
    for name in convert.__all__:
        assert getattr(convert, name).__doc__


def test_importing_it_loads_no_package_of_others() -> None:
    code = "import sys, convert; print(*{name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "tensorflow", "keras", "click", "rich"} & set(done.stdout.split())


def arrays(folder: Path) -> dict[str, list[np.ndarray]]:
    return {
        name: [np.asarray(Image.open(path)) for path in sorted((folder / name).glob("*.png"))][:20] for name in COLOURS
    }


@pytest.fixture(scope="module")
def model(small_model: Path) -> keras.Model:
    return keras.models.load_model(small_model)


@pytest.fixture(scope="module")
def outcomes(
    model: keras.Model, calibration_folder: Path, validation_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Outcome]:
    """A model in memory, a list of paths, a dictionary of arrays, a list of labels."""
    return convert_model(
        model,
        schemes="none,int8",
        preprocessing="tf",
        labels=list(COLOURS),
        calibration=sorted(calibration_folder.glob("*/*.png")),
        validation=arrays(validation_folder),
        output_dir=tmp_path_factory.mktemp("api"),
    )


def test_a_model_in_memory_becomes_judged_artifacts(outcomes: list[Outcome], model: keras.Model) -> None:
    assert [outcome.path.name for outcome in outcomes] == [f"{model.name}.{name}.tflite" for name in ("none", "int8")]
    for outcome in outcomes:
        assert outcome.drift is not None
        assert (outcome.drift.images, outcome.drift.labelled) == (60, True)


def test_the_float_artifact_answers_as_the_model_in_memory(
    outcomes: list[Outcome], model: keras.Model, validation_folder: Path
) -> None:
    pictures = [picture for some in arrays(validation_folder).values() for picture in some[:2]]
    expected = model.predict(np.stack(pictures).astype(np.float32) / 127.5 - 1, verbose=0)
    with Classifier.open(outcomes[0].path) as classifier:
        np.testing.assert_allclose(classifier.probabilities(pictures), expected, atol=1e-5)


def test_drift_and_audit(outcomes: list[Outcome], validation_folder: Path) -> None:
    found = measure_drift(outcomes[1].path, outcomes[0].path, arrays(validation_folder))
    assert outcomes[1].drift is not None
    assert found.assessment.drift.agreement_top1 == outcomes[1].drift.agreement_top1
    assert found.report["gate"]["verdict"] == found.assessment.gate.verdict
    assert audit_model(outcomes[1].path).verdict.kind == "int8"
    assert audit_model(str(outcomes[0].path)).verdict.kind == "float"


def test_the_article_s_network() -> None:
    model = inception_resnet_v2((75, 75, 3), classes=4)
    assert (model.input_shape, model.output_shape) == ((None, 75, 75, 3), (None, 4))


def test_a_source_with_weights_is_refused_as_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"missing\.weights\.h5 does not exist"):
        convert_model(ModelSource(weights=tmp_path / "missing.weights.h5", classes=3), preprocessing="tf")


def test_pictures_of_classes_become_class_folders(tmp_path: Path) -> None:
    white = np.full((4, 5, 3), 255, np.uint8)
    Image.fromarray(white).save(tmp_path / "white.jpg")
    images = find_images(image_folder({"T-shirt/top": [white, tmp_path / "white.jpg"], "bag": [white]}, tmp_path / "x"))
    assert images.class_indices(["bag", "T-shirt/top"]) == [0, 1, 1]
    np.testing.assert_array_equal(np.asarray(Image.open(images.paths[0])), white)
    assert images.paths[2].resolve() == tmp_path / "white.jpg"


def test_a_folder_stays_where_it_is(tmp_path: Path) -> None:
    assert image_folder(str(tmp_path), tmp_path / "x") == tmp_path
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("picture", "complaint"),
    [
        ("nowhere.png", r"image nowhere\.png does not exist"),
        (np.zeros((4, 4, 2), np.uint8), r"image 0 is an array of uint8 \(4, 4, 2\)"),
        (np.zeros((4, 4, 3), np.float32), r"image 0 is an array of float32 \(4, 4, 3\)"),
    ],
)
def test_what_is_no_picture_is_named(picture: str | np.ndarray, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ImageSetError, match=complaint):
        image_folder([picture], tmp_path / "x")
