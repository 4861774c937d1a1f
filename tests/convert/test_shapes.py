"""Pictures of any shape, end to end: said once, their geometry holds for host, gate, device and rebuilding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from convert.drift.models import ModelOptions
from convert.drift.run import DriftRequest, run
from convert.errors import SourceError
from convert.job import Job, Sources
from convert.keras_models.sources import ModelSource
from convert.pipeline import convert
from convert.quantization.schemes import parse_schemes
from convert.reporting.outcome import Outcome
from convert.statistics.verdict import Limits
from convert.system.progress import Silent
from convert.verify import verify
from edge_runtime import Classifier
from edge_runtime.artifact import open_artifact

SIDE = 24
COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (210, 50, 40)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures four times as wide as high, of a colour in their middle and of the next colour on both sides."""
    root = tmp_path_factory.mktemp("shapes")
    random = np.random.default_rng(5)
    for part, count in (("calibration", 6), ("validation", 20)):
        for index, name in enumerate(COLOURS):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.full((60, 240, 3), list(COLOURS.values())[index - 1], float)
                pixels[:, 90:150] = COLOURS[name]
                pixels += random.normal(0, 20, pixels.shape)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / part / name / f"{i}.png")
    (root / "labels.txt").write_text("\n".join(COLOURS))
    return root


def colour_network(front: Any = None) -> Any:
    """The nearest of the colours to the mean of pixels as `tf` scales them, or as they come, behind a front."""
    image = keras.Input((SIDE, SIDE, 3) if front is None else (None, None, 3))
    tensor = image if front is None else front(image)
    model = keras.Model(image, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1)(tensor))))
    centres = np.array(list(COLOURS.values())) / 127.5 - 1
    kernel: Any = np.eye(3)[np.newaxis, np.newaxis]
    model.set_weights([kernel, np.zeros(3), 8 * centres.T, -4 * (centres**2).sum(axis=1)])
    return model


def sources(folder: Path) -> dict[str, Any]:
    return {name: folder / name for name in ("calibration", "validation")} | {"labels": folder / "labels.txt"}


def converted(model: Any, folder: Path, out: Path, **said: Any) -> Outcome:
    model.save(out / "mine.keras")
    source = ModelSource(str(out / "mine.keras"))
    schemes = tuple(parse_schemes("none"))
    job = Job(source=source, schemes=schemes, **sources(folder), **said, output_dir=out, use_cache=False)
    (outcome,) = convert(job, Silent())
    return outcome


@pytest.fixture(scope="module")
def cut(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return converted(colour_network(), folder, tmp_path_factory.mktemp("cut"), preprocessing="tf", fit="torchvision")


def test_the_card_says_it_and_the_device_does_it(cut: Outcome, folder: Path) -> None:
    card = open_artifact(cut.path).card
    assert (card.preprocessing.geometry, card.card_version) == ("crop 0.875 as torchvision", 4)
    assert cut.drift is not None
    assert cut.drift.top1_candidate == 1.0
    with Classifier.open(cut.path) as classifier:
        for name in COLOURS:
            assert classifier.predict(folder / "validation" / name / "0.png")[0].label == name


def test_another_geometry_is_refused_with_the_option_to_give(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"on 100% with --fit crop: check --fit"):
        converted(colour_network(), folder, tmp_path, preprocessing="tf")


def test_it_is_recorded_and_built_again(cut: Outcome, folder: Path) -> None:
    source = ModelSource(str(cut.path.parent / "mine.keras"))
    assert verify(cut.path, source, Sources(**sources(folder), preprocessing="tf"), Silent()).identical
    same = Sources(**sources(folder), preprocessing="tf", fit="torchvision")
    assert not verify(cut.path, None, same, Silent()).changed
    other = verify(cut.path, None, Sources(preprocessing="tf", fit="pad:9"), Silent())
    assert other.changed == ["preprocessing"]
    (compared,) = (each for each in other.inputs if each.name == "preprocessing")
    assert "fit crop" in str(compared.recorded)
    assert "fit pad" in str(compared.found)


@pytest.mark.parametrize("said", [None, "tf", {"mean": [127.5] * 3, "std": [127.5] * 3}])
def test_a_reference_gets_the_same_pixels(said: Any, cut: Outcome, folder: Path, tmp_path: Path) -> None:
    """Whether nothing is said of it, or its scaling alone."""
    preprocessing = said
    if isinstance(said, dict):
        preprocessing = str(tmp_path / "said.json")
        Path(preprocessing).write_text(json.dumps(said))
    request = DriftRequest(
        cut.path, cut.path.parent / "mine.keras", folder / "validation", reference_preprocessing=preprocessing
    )
    assert run(request, Limits(), False, Silent()).assessment.drift.sqnr_db > 80


def test_a_reference_may_be_fitted_otherwise_on_purpose(cut: Outcome, folder: Path) -> None:
    options = ModelOptions(fit="stretch")
    request = DriftRequest(cut.path, cut.path.parent / "mine.keras", folder / "validation", options=options)
    assert run(request, Limits(), False, Silent()).assessment.drift.sqnr_db < 20


@pytest.mark.parametrize(
    ("how", "fit"), [("crop_to_aspect_ratio", "crop"), ("pad_to_aspect_ratio", "pad"), ("antialias", "stretch")]
)
def test_a_network_that_resizes_pictures_itself_says_how(how: str, fit: str, folder: Path, tmp_path: Path) -> None:
    """Against Keras on pictures as they come: the answers of the whole model, front and all."""
    resizing = layers.Resizing(SIDE, SIDE, **{how: True})
    whole = colour_network(lambda x: layers.Rescaling(1 / 127.5, -1)(resizing(x)))
    whole.save(tmp_path / "mine.keras")
    job = Job(
        source=ModelSource(str(tmp_path / "mine.keras")),
        schemes=tuple(parse_schemes("none")),
        labels=folder / "labels.txt",
        validate=False,
        output_dir=tmp_path,
        use_cache=False,
    )
    (outcome,) = convert(job, Silent())
    with Classifier.open(outcome.path) as classifier:
        assert classifier.spec.fit == fit
        for name in COLOURS:
            path = folder / "validation" / name / "0.png"
            expected = np.asarray(whole(np.asarray(Image.open(path), np.float32)[np.newaxis]))[0]
            found = {each.label: each.probability for each in classifier.predict(path, top_k=3)}
            assert [found[each] for each in COLOURS] == pytest.approx(expected, abs=0.01)
