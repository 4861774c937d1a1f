"""What all contenders start from: folders with networks, images and a photograph; nothing of it is timed."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps

import calibration_data
from convert.images.conventions import input_spec
from convert.images.dataset import ImageSet, find_images
from edge_runtime.preprocess import load_pixels, normalize

FOLDER = Path("build/bench").absolute()
CACHE = {"IRV2_CACHE_DIR": str(FOLDER / "cache")}
LABELS = json.loads(calibration_data.MANIFEST.read_text(encoding="utf-8"))["labels"]
PICTURE, PICTURED = calibration_data.VALIDATION / "bag" / "test_00429.png", LABELS.index("Bag")
STORED, PHOTO = FOLDER / "reference.npz", FOLDER / "photo.jpg"
CHANGES = {
    "as_it_is": lambda picture: picture,
    "mirrored": ImageOps.mirror,
    **{f"moved_{x}_{y}": partial(ImageChops.offset, xoffset=x, yoffset=y) for x, y in ((1, 0), (-1, 0), (0, 1))},
}
"""What makes five pictures of one, by name."""


@dataclass(frozen=True)
class Ground:
    """The network for square pictures of one size, and calibration images for it, in a folder."""

    size: int
    folder: Path

    @property
    def network(self) -> Path:
        """Its Keras file."""
        return self.folder / "network.keras"

    @property
    def int8(self) -> Path:
        """What we make of it."""
        return self.folder / "ours" / "network.int8.tflite"

    @property
    def float(self) -> Path:
        """What we make of it without quantizing it."""
        return self.folder / "ours" / "network.none.tflite"

    def stored(self, images: int) -> Path:
        """The float model's answers for so many pictures of `judged`."""
        return self.folder / f"reference-{images}.npz"

    @property
    def judged(self) -> Path:
        """The folder of the pictures of validation, each as it is and changed in four ways."""
        return self.folder / "judged"

    def calibration(self, count: int) -> Path:
        """The folder of so many images; the same as an array has its name with `.npy`."""
        return self.folder / f"calibration-{count}"

    def write_images(self, count: int) -> None:
        """A folder of calibration images."""
        folder = self.calibration(count)
        if folder.exists():
            return
        images = calibration_images(count)
        for path in images.paths:
            copy = folder / path.relative_to(images.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)

    def write_judged(self) -> None:
        """The folder of 5,000 pictures: `CHANGES` of those of validation."""
        if self.judged.exists():
            return
        for path in find_images(calibration_data.VALIDATION).paths:
            folder = self.judged / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as picture:
                for name, change in CHANGES.items():
                    change(picture).save(folder / f"{path.stem}_{name}.png")

    def write_array(self, count: int) -> None:
        """The same as an array, for peers: float32 (count, size, size, 3) in -1..1."""
        path, spec = self.calibration(count).with_suffix(".npy"), input_spec("tf", self.size, self.size)
        if not path.exists():
            pixels = (load_pixels(image, spec) for image in calibration_images(count).paths)
            np.save(path, np.stack([normalize(each, spec) for each in pixels]))

    def furnish(self, peer: str, images: int) -> None:
        """Give a peer an empty folder with the network and `images` calibration images."""
        place = self.folder / peer
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "network.keras").symlink_to(self.network)
        (place / "calibration.npy").symlink_to(self.calibration(images).with_suffix(".npy"))


GROUND, LARGE = Ground(139, FOLDER), Ground(299, FOLDER / "299")
"""The demo network, and the same one for pictures of the article's size, with weights of its own."""


def calibration_images(count: int) -> ImageSet:
    """Of the bundled ones; of those for validation where there are not enough."""
    images = find_images(calibration_data.CALIBRATION)
    return (images if count <= len(images) else find_images(calibration_data.VALIDATION)).shuffled()[:count]


def empty_cache() -> None:
    """As it is on a machine that converts for the first time."""
    shutil.rmtree(CACHE["IRV2_CACHE_DIR"], ignore_errors=True)
