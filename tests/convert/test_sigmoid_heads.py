"""From a network that ends in sigmoids to artifacts that answer as it did, judged by the whole set of labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from convert.images.image_labels import read_image_labels
from edge_runtime import Classifier
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import load_pixels, normalize
from tests.conftest import Finished, run_command

LABELS = ("red", "green", "blue")
COLOURS = np.array([(230, 40, 40), (40, 220, 60), (50, 60, 230)])
SIZE = 32
SCHEMES = ("none", "float16", "dynamic", "int8", "mixed")
Array = Any


@dataclass(frozen=True)
class Workplace:
    """Two trained networks, and pictures with a red, a green and a blue square, or some of them, or none."""

    folder: Path

    def convert(self, model: str, *options: object) -> Finished:
        images = ("--calibration", self.folder / "calibration", "--preprocessing", "tf")
        return run_command("irv2-convert", "--model", self.folder / f"{model}.keras", *images, *options)


def pictures(count: int, random: np.random.Generator) -> tuple[Array, Array]:
    there = random.integers(0, 2, (count, 3)).astype(bool)
    images = random.normal(120, 18, (count, SIZE, SIZE, 3))
    for image, squares in zip(images, there, strict=True):
        for colour in COLOURS[squares]:
            (y, x), side = random.integers(0, 20, 2), random.integers(8, 13)
            image[y : y + side, x : x + side] = colour + random.normal(0, 12, 3)
    return np.clip(images, 0, 255).astype(np.uint8), there


def trained(images: Array, truth: Array) -> keras.Model:
    """A network whose features, convolutions of random weights, are fitted to the logits (-6, 6) in closed form."""
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(24, 3, strides=2, activation="relu")(image)
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(64, 3, strides=2, activation="relu")(x))
    head = layers.Dense(truth.shape[1], activation="sigmoid")
    model, body = keras.Model(image, head(features)), keras.Model(image, features)
    values = np.asarray(body(images / np.float32(127.5) - 1))
    centre, spread = values.mean(axis=0), values.std(axis=0) + 1e-3
    normal, wanted = (values - centre) / spread, np.where(truth, 6.0, -6.0)
    weights = np.linalg.solve(normal.T @ normal + 1e-1 * np.eye(64), normal.T @ wanted) / spread[:, np.newaxis]
    head.set_weights([weights, wanted.mean(axis=0) - centre @ weights])
    return model


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder, random = tmp_path_factory.mktemp("sigmoids"), np.random.default_rng(5)
    keras.utils.set_random_seed(1)
    images, there = pictures(500, random)
    trained(images, there).save(folder / "labels.keras")
    trained(images, there[:, :1]).save(folder / "binary.keras")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    (folder / "classes.txt").write_text("cats\ndogs\n")
    for name, count in (("calibration", 40), ("validation", 150)):
        (folder / name).mkdir()
        images, there = pictures(count, random)
        lines = ["Image Index,Finding Labels"]
        for i, (image, squares) in enumerate(zip(images, there, strict=True)):
            Image.fromarray(image).save(folder / name / f"{i:03}.png")
            of_class = folder / f"{name}-classes" / ("dogs" if squares[0] else "cats")
            of_class.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(of_class / f"{i:03}.png")
            shown = "|".join(label for label, is_there in zip(LABELS, squares, strict=True) if is_there)
            lines.append(f"{i:03}.png,{shown or 'No Finding'}")
        (folder / f"{name}.csv").write_text("\n".join(lines))
    return Workplace(folder)


def keras_answers(model: Path, images: list[Path]) -> Array:
    """What Keras itself answers to pictures as a device prepares them."""
    with Classifier.open(next(model.parent.glob(f"build/{model.stem}.*.tflite"))) as classifier:
        pixels = np.stack([load_pixels(path, classifier.spec) for path in images])
        return np.asarray(keras.models.load_model(model)(normalize(pixels, classifier.spec)))


@pytest.fixture(scope="module")
def labels(workplace: Workplace) -> Finished:
    return workplace.convert(
        "labels", "--quantize", ",".join(SCHEMES), "--keep-float", r"conv2d\w*$",
        "--output-dir", workplace.folder / "build",
        "--labels", workplace.folder / "labels.txt", "--validation", workplace.folder / "validation",
        "--image-labels", workplace.folder / "validation.csv", "--min-agreement", 90, "--max-drop", 5,  # few images
    )  # fmt: skip


@pytest.fixture(scope="module")
def binary(workplace: Workplace) -> Finished:
    return workplace.convert(
        "binary", "--quantize", "none,int8", "--labels", workplace.folder / "classes.txt",
        "--validation", workplace.folder / "validation-classes", "--output-dir", workplace.folder / "build",
    )  # fmt: skip


def test_independent_labels_pass_in_every_scheme(labels: Finished, workplace: Workplace) -> None:
    assert labels.code == 0, labels.err + labels.out
    assert "whole set quantized" in labels.out
    assert "int8: pass: whole-set agreement " in labels.out
    images = sorted((workplace.folder / "validation").iterdir())
    expected = keras_answers(workplace.folder / "labels.keras", images)
    truth = read_image_labels(workplace.folder / "validation.csv").of([path.name for path in images], LABELS)
    for scheme in SCHEMES:
        path = workplace.folder / "build" / f"labels.{scheme}.tflite"
        card = open_artifact(path).card
        assert (card.head, card.card_version, card.classes) == ("independent", 3, 3)
        with Classifier.open(path) as classifier:
            found = classifier.probabilities(images)
        assert np.abs(found - expected).max() < (1e-5 if scheme == "none" else 0.2), scheme
        assert card.drift is not None
        same = np.mean(((found >= 0.5) == (expected >= 0.5)).all(axis=1))
        assert card.drift["agreement_top1"] == pytest.approx(same)
        assert card.drift["top1_candidate"] == pytest.approx(np.mean(((found >= 0.5) == truth).all(axis=1)))
        assert card.drift["agreement_labels"] == pytest.approx(np.mean((found >= 0.5) == (expected >= 0.5)))
        assert (card.drift["head"], card.drift["agreement_top5"]) == ("independent", None)


@pytest.mark.usefixtures("labels")
def test_the_page_and_the_report_speak_of_sets_of_labels(workplace: Workplace) -> None:
    beside = workplace.folder / "build" / "labels.int8.tflite"
    report = json.loads(beside.with_name(f"{beside.name}.report.json").read_text())
    assert report["head"] == "independent"
    assert [each["label"] for each in report["drift"]["per_class"]] == list(LABELS)
    page = beside.with_name(f"{beside.name}.report.html").read_text()
    assert "Whole-set agreement" in page
    assert "3 independent labels, threshold 0.5" in page
    assert "op-1" not in page


def test_one_sigmoid_unit_ships_as_two_classes(binary: Finished, workplace: Workplace) -> None:
    assert binary.code == 0, binary.err + binary.out
    assert "two labels from one unit (shipped as the equal softmax)" in binary.out
    images = sorted((workplace.folder / "validation").iterdir())
    expected = keras_answers(workplace.folder / "binary.keras", images)[:, 0]
    path = workplace.folder / "build" / "binary.none.tflite"
    card = open_artifact(path).card
    assert (card.head, card.source["head"], card.classes, card.card_version) == ("softmax", "binary", 2, 2)
    with Classifier.open(path) as classifier:
        np.testing.assert_allclose(classifier.probabilities(images)[:, 1], expected, atol=1e-5)
        best = classifier.predict(images)
    assert [row[0].label for row in best] == ["dogs" if p > 0.5 else "cats" for p in expected]


@pytest.mark.usefixtures("labels")
def test_drift_of_stored_answers_in_shards_is_that_of_one_run(workplace: Workplace) -> None:
    folder, reference = workplace.folder, workplace.folder / "answers.npz"
    images = ("--images", folder / "validation", "--image-labels", folder / "validation.csv")
    build = folder / "build"
    saved = run_command(
        "irv2-drift", "--reference", build / "labels.none.tflite", "--images", folder / "validation",
        "--save-reference", reference,
    )  # fmt: skip
    assert saved.code == 0, saved.err
    candidate = (build / "labels.int8.tflite", "--reference", reference, *images)
    whole = run_command("irv2-drift", *candidate, "--no-stop-early", "--json")
    assert whole.code == 0, whole.err
    for part in (1, 2):
        shard = run_command("irv2-drift", *candidate, "--shard", f"{part}/2", "--rows", folder / f"{part}.json")
        assert shard.code == 0, shard.err
    merged = run_command("irv2-drift", "merge", folder / "1.json", folder / "2.json", "--json")
    assert merged.code == 0, merged.err
    one, other = (json.loads(done.out) for done in (whole, merged))
    assert one["drift"] == other["drift"]
    assert one["gate"] == other["gate"]
    card = open_artifact(build / "labels.int8.tflite").card
    assert card.drift is not None
    assert one["drift"]["agreement_top1"] == card.drift["agreement_top1"]
    assert one["drift"]["top1_drop_pp"] == card.drift["top1_drop_pp"]


@pytest.mark.usefixtures("labels", "binary")
def test_heads_do_not_mix(workplace: Workplace) -> None:
    build, images = workplace.folder / "build", ("--images", workplace.folder / "validation")
    done = run_command("irv2-drift", build / "labels.int8.tflite", "--reference", build / "binary.none.tflite", *images)
    assert done.code == 1
    assert "the reference has a head of kind softmax, the candidate one of kind independent: compare models" in done.err


@pytest.mark.usefixtures("labels")
def test_an_integer_head_keeps_its_labels_apart(workplace: Workplace) -> None:
    """`--io int8`: the sigmoids compute in integers, with the only scale that they may have."""
    done = workplace.convert(
        "labels", "--quantize", "int8", "--io", "int8", "--labels", workplace.folder / "labels.txt",
        "--validation", workplace.folder / "validation", "--image-labels", workplace.folder / "validation.csv",
        "--output-dir", workplace.folder / "integers",
    )  # fmt: skip
    assert done.code == 0, done.err + done.out
    output = open_artifact(workplace.folder / "integers" / "labels.int8.tflite").card.output
    assert (output.dtype, output.scale, output.zero_point) == ("int8", 1 / 256, -128)


def test_labels_of_images_need_a_drift_check(workplace: Workplace) -> None:
    path = workplace.folder / "validation.csv"
    done = workplace.convert("labels", "--image-labels", path, "--no-validate")
    assert (done.code, done.err.splitlines()[-1]) == (
        1,
        f"irv2-convert: error: --image-labels {path} is for the drift check: leave out --no-validate",
    )
