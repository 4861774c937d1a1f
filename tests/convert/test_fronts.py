"""Networks whose files say how images are prepared become artifacts without `--preprocessing`, checked end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import applications, layers
from PIL import Image

from convert.errors import SourceError
from convert.job import Job, Sources
from convert.keras_models.sources import ModelSource
from convert.pipeline import convert
from convert.quantization.schemes import parse_schemes
from convert.reporting.outcome import Outcome
from convert.system.progress import Silent
from convert.verify import verify
from edge_runtime import Classifier
from edge_runtime.artifact import open_artifact
from tests.convert.keras_models.fronts import augmentation

SIZE = (24, 32)
LABELS = ("dark", "light", "striped")


def picture(label: str, number: int) -> Any:
    """A noisy picture that has its label in its brightness or stripes, so that grey ones show it, too."""
    random = np.random.default_rng([LABELS.index(label), number])
    base = {"dark": 60, "light": 190, "striped": 125}[label]
    pixels = base + random.normal(0, 25, (*SIZE, 3))
    if label == "striped":
        pixels[:, ::4] += 90
        pixels[:, 2::4] -= 90
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fronts")
    for part, numbers in (("calibration", range(12)), ("validation", range(12, 32))):
        for label in LABELS:
            (root / part / label).mkdir(parents=True)
            for number in numbers:
                Image.fromarray(picture(label, number)).save(root / part / label / f"{number}.png")
    (root / "labels.txt").write_text("\n".join(LABELS))
    return root


def trained(front: Any, channels: int = 3) -> Any:
    """A small network, trained on pictures as they come: the front is its own."""
    keras.utils.set_random_seed(1)
    image = keras.Input((*SIZE, channels))
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(front(image))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(x))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(layers.Dropout(0.1)(x)), name="small")
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    pictures = [(picture(label, number), k) for k, label in enumerate(LABELS) for number in range(100, 130)]
    mode = "RGB" if channels == 3 else "L"
    images = np.array([np.asarray(Image.fromarray(each).convert(mode)) for each, _ in pictures], np.float32)
    classes = np.array([k for _, k in pictures])
    model.fit(images.reshape(-1, *SIZE, channels), classes, epochs=25, batch_size=15, verbose=0)
    return model


def sources(folder: Path) -> dict[str, Path]:
    return {
        "labels": folder / "labels.txt",
        "calibration": folder / "calibration",
        "validation": folder / "validation",
    }


def converted(model: Any, folder: Path, out: Path, **options: Any) -> Outcome:
    path = out / "mine.keras"
    model.save(path)
    source = ModelSource(str(path), input_size=options.pop("input_size", None))
    job = Job(
        source=source,
        schemes=tuple(parse_schemes("int8")),
        use_cache=False,
        output_dir=out,
        **sources(folder),
        **options,
    )
    (outcome,) = convert(job, Silent())
    return outcome


def same_classes(model: Any, artifact: Path, folder: Path, channels: int = 3) -> float:
    """How often the artifact answers pictures, of any size, as the Keras model does."""
    paths = sorted((folder / "validation").glob("*/*.png"))
    pictures = [Image.open(path).convert("RGB" if channels == 3 else "L") for path in paths]
    images = np.stack([np.asarray(each, np.float32).reshape(*SIZE, channels) for each in pictures])
    expected = np.argmax(model(images, training=False), axis=1)
    with Classifier.open(artifact) as classifier:
        return float(np.mean(classifier.probabilities(paths).argmax(axis=1) == expected))


def test_pixels_go_straight_into_the_first_convolution(folder: Path, tmp_path: Path) -> None:
    model = trained(lambda x: layers.Rescaling(1 / 127.5, -1)(augmentation()(x)))
    outcome = converted(model, folder, tmp_path)
    assert outcome.drift is not None
    assert outcome.drift.top1_reference > 0.9
    assert same_classes(model, outcome.path, folder) >= 0.98
    card = open_artifact(outcome.path).card
    assert (card.input.dtype, card.input.encoding) == ("uint8", "pixels")
    assert (card.preprocessing.mean, card.preprocessing.std) == ((127.5,) * 3, (127.5,) * 3)
    assert outcome.to_json()["source"]["front"] == [
        "folded: Rescaling(1/127.5, -1) into the card's mean and std",
        "left out: RandomFlip, RandomRotation, RandomZoom, which act in training only",
    ]
    assert card.source["front"] == outcome.to_json()["source"]["front"]
    source = ModelSource(str(tmp_path / "mine.keras"))
    assert verify(outcome.path, source, Sources(**sources(folder)), Silent()).holds


def test_one_that_scales_each_channel_has_pixel_ends_too(folder: Path, tmp_path: Path) -> None:
    """A mean and a std of each channel go into the kernel: the input is uint8 without being asked for."""
    model = trained(applications.densenet.preprocess_input)
    outcome = converted(model, folder, tmp_path)
    assert same_classes(model, outcome.path, folder) >= 0.98
    card = open_artifact(outcome.path).card
    assert (card.input.dtype, card.input.encoding) == ("uint8", "pixels")
    assert len(set(card.preprocessing.std)) == 1


def test_a_convention_that_was_given_and_moved_is_what_verify_compares(folder: Path, tmp_path: Path) -> None:
    outcome = converted(trained(lambda x: x), folder, tmp_path, preprocessing="torch", validate=False)
    given = Sources(**{**sources(folder), "validation": None}, preprocessing="torch")
    found = verify(outcome.path, None, given, Silent())
    assert next(each for each in found.inputs if each.name == "preprocessing").state == "same"
    other = verify(outcome.path, None, Sources(preprocessing="caffe"), Silent())
    assert other.changed == ["preprocessing"]


def test_grey_networks_get_grey_pixels(folder: Path, tmp_path: Path) -> None:
    model = trained(lambda x: layers.Rescaling(1 / 255)(layers.Concatenate()([x, x, x])), channels=1)
    outcome = converted(model, folder, tmp_path)
    assert outcome.drift is not None
    assert outcome.drift.top1_reference > 0.9
    assert same_classes(model, outcome.path, folder, channels=1) >= 0.98
    card = open_artifact(outcome.path).card
    assert (card.card_version, card.preprocessing.channels, card.preprocessing.std) == (3, 1, (255.0,))
    assert card.input.encoding == "pixels"


def test_a_network_of_any_size_takes_height_and_width(folder: Path, tmp_path: Path) -> None:
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    outcome = converted(model, folder, tmp_path, input_size=(20, 28), validate=False)
    card = open_artifact(outcome.path).card
    assert (card.preprocessing.height, card.preprocessing.width) == (20, 28)
    source = ModelSource(str(tmp_path / "mine.keras"), input_size=(20, 28))
    assert verify(outcome.path, source, Sources(**sources(folder)), Silent()).holds


def test_a_convention_that_contradicts_the_file_is_refused(folder: Path, tmp_path: Path) -> None:
    image = keras.Input((*SIZE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image)))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(x))
    with pytest.raises(SourceError, match=r"scales its pixels itself \(Rescaling\(1/255\)\).*leave it out"):
        converted(model, folder, tmp_path, preprocessing="tf")
