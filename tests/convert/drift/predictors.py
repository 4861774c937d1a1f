"""A predictor whose answers are made up, and sets of images that do not exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.images.dataset import ImageSet
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from tests.edge_runtime.tiny_model import SPEC

LABELS = ("a", "b", "c")
ALL_LABELS = tuple("abcdefg")


@dataclass
class FakePredictor:
    """Answers the classes it is told to, and cannot read some images; `asked` counts the images."""

    classes: Sequence[int]
    unreadable: Sequence[int] = ()
    labels: tuple[str, ...] = LABELS
    path: Path = Path("fake.tflite")
    spec: InputSpec = SPEC
    step: float = 0.0
    file_sha256: str = "0" * 64
    keras_sqnr_db: float | None = None
    asked: int = 0

    def rows(self, images: ImageSet, skipped: list[str]) -> Iterator[tuple[int, Array]]:
        for index, answer in enumerate(self.classes):
            self.asked += 1
            if index in self.unreadable:
                skipped.append(f"{images.paths[index]} is broken")
            else:
                yield index, np.where(np.arange(len(self.labels)) == answer, 0.8, 0.1).astype(np.float32)


def image_set(count: int, classes: Sequence[int] | None = None) -> ImageSet:
    folders = None if classes is None else tuple(ALL_LABELS[c] for c in classes)
    return ImageSet(Path("x"), tuple(Path(f"x/{i}.png") for i in range(count)), folders)
