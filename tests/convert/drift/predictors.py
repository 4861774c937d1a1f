"""A predictor whose answers are made up, and sets of images that do not exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from convert.drift.predictions import Predictor
from convert.images.dataset import ImageSet
from edge_runtime.arrays import Array
from edge_runtime.specs import SOFTMAX
from tests.edge_runtime.tiny_model import SPEC

LABELS = ("a", "b", "c")
ALL_LABELS = tuple("abcdefg")


class FakePredictor(Predictor):
    """Answers the classes it is told to, and cannot read some images; `asked` counts the images."""

    def __init__(
        self,
        classes: Sequence[int],
        unreadable: Sequence[int] = (),
        labels: tuple[str, ...] = LABELS,
        head: str = SOFTMAX,
    ) -> None:
        super().__init__(path=Path("fake.tflite"), labels=labels, spec=SPEC, head=head)
        self.classes, self.unreadable, self.asked = classes, unreadable, 0

    def file_sha256(self) -> str:
        return "0" * 64

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
