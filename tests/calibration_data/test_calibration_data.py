"""The bundled images are the ones the manifest lists, and the two sets share none."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from calibration_data import CALIBRATION, MANIFEST, VALIDATION

FOLDER = MANIFEST.parent
SCRIPTS = Path(__file__).parents[2] / "scripts"
LABELS = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that made the folder."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("build_calibration_data")


def images_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


def normalized(name: str) -> str:
    """The rule by which a folder's name is a label."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


def test_manifest_lists_every_file_and_its_checksum(manifest: dict[str, Any]) -> None:
    listed = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    present = {
        path.relative_to(FOLDER).as_posix(): path for folder in (CALIBRATION, VALIDATION) for path in images_in(folder)
    }
    assert listed.keys() == present.keys()
    assert len(manifest["files"]) == len(listed) == 1200
    for name, path in present.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[name], name


@pytest.mark.parametrize(("folder", "per_class"), [(CALIBRATION, 20), (VALIDATION, 100)])
def test_every_class_has_its_share(folder: Path, per_class: int) -> None:
    counts = Counter(path.parent.name for path in images_in(folder))
    assert len(counts) == 10
    assert set(counts.values()) == {per_class}


def test_images_are_small_grey_originals() -> None:
    for path in images_in(FOLDER):
        with Image.open(path) as image:
            assert (image.size, image.mode, image.format) == ((28, 28), "L", "PNG"), path
            image.load()
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 1_500_000


def test_no_two_images_share_their_pixels() -> None:
    pixels = Counter(np.asarray(Image.open(path)).tobytes() for path in images_in(FOLDER))
    assert max(pixels.values()) == 1


def test_folders_files_and_manifest_agree_on_the_labels(manifest: dict[str, Any]) -> None:
    assert manifest["labels"] == LABELS
    for entry in manifest["files"]:
        folder, class_name, file_name = entry["path"].split("/")
        split = {"calibration": "train", "validation": "test"}[folder]
        assert normalized(class_name) == normalized(entry["label"])
        assert entry["split"] == split
        assert file_name == f"{split}_{entry['index']:05}.png"
    by_label = {label: {e["path"].split("/")[1] for e in manifest["files"] if e["label"] == label} for label in LABELS}
    assert [len(folders) for folders in by_label.values()] == [1] * 10
    assert len({normalized(label) for label in LABELS}) == 10


def test_classes_look_like_what_they_are_called(manifest: dict[str, Any]) -> None:
    """Trousers are tall, sneakers flat, pullovers fill the picture: shuffled labels would not be."""

    def mean_image(label: str) -> Any:
        paths = [FOLDER / entry["path"] for entry in manifest["files"] if entry["label"] == label]
        return np.mean([np.asarray(Image.open(path), np.float64) for path in paths], axis=0)

    def height_to_width(label: str) -> float:
        rows, columns = np.nonzero(mean_image(label) > 64)
        return float((np.ptp(rows) + 1) / (np.ptp(columns) + 1))

    assert height_to_width("Trouser") > 1.5
    assert height_to_width("Sneaker") < 0.7
    assert mean_image("Pullover").mean() > 2 * mean_image("Sandal").mean()


def test_labels_are_the_ones_the_demo_was_trained_with() -> None:
    from convert.keras_models.demo_weights import LABELS as demo_labels  # loads Keras: only this test needs it

    assert list(demo_labels) == LABELS


def test_licence_and_source_travel_with_the_images() -> None:
    licence = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "2017 Zalando SE" in licence
    assert "Permission is hereby granted" in licence
    assert "fashion-mnist" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_scripts_png_files_hold_the_pixels(builder: ModuleType, tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (28, 28), np.uint8)
    path = tmp_path / "image.png"
    for pixels in (image, np.cumsum(image // 100, axis=0, dtype=np.uint8)):
        path.write_bytes(builder.encode_png(pixels))
        np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)


def test_choice_is_balanced_seeded_and_without_repeats(builder: ModuleType) -> None:
    images = np.arange(400, dtype=np.uint16).view(np.uint8).reshape(400, 1, 2)
    images = np.concatenate([images, images])  # every image twice
    labels = np.tile(np.arange(10, dtype=np.uint8), 80)
    refused = {images[index].tobytes() for index in range(50)}
    chosen = list(builder.choose(images, labels, 6, refused))
    assert chosen == list(builder.choose(images, labels, 6, refused))
    assert Counter(labels[chosen].tolist()) == dict.fromkeys(range(10), 6)
    pixels = {images[index].tobytes() for index in chosen}
    assert len(pixels) == 60
    assert not pixels & refused


def test_the_script_makes_the_folder_again(builder: ModuleType, tmp_path: Path) -> None:
    if not builder.INSTALLED.exists():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    builder.build(builder.INSTALLED, tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == MANIFEST.read_bytes()
