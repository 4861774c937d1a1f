"""A network whose answers are set for each preprocessing, and pictures that it tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convert.images.conventions import input_spec
from convert.images.dataset import ImageSet, find_images
from convert.images.trial_runs import TrialRuns
from edge_runtime import InputSpec
from edge_runtime.specs import SOFTMAX

LABELS = ("no", "yes")
GIVEN = input_spec("tf", 4, 4)
WAYS = {f"--preprocessing {name}": input_spec(name, 4, 4) for name in ("unit", "none", "torch")}
UNIT = WAYS["--preprocessing unit"]
LOGIT_OF_NOTHING = 0.0


def numbered_pictures(root: Path) -> ImageSet:
    """200 pictures of two classes, each with its number as its colour."""
    for i in range(200):
        folder = root / LABELS[i % 2]
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (i, i, i)).save(folder / f"{i:03}.png")
    return find_images(root).shuffled()


class Network:
    """Gives the true class a logit that depends on the preprocessing and on the picture, and counts its inferences."""

    def __init__(self, logits: dict[InputSpec, Any]) -> None:
        self.logits, self.runs = logits, dict.fromkeys(logits, 0)

    def __call__(self, spec: InputSpec, pixels: Sequence[Any]) -> Any:
        self.runs[spec] = self.runs.get(spec, 0) + len(pixels)
        numbers = [int(each[0, 0, 0]) for each in pixels]
        logit = np.array([self.logits.get(spec, lambda _: LOGIT_OF_NOTHING)(i) for i in numbers])
        p = 1 / (1 + np.exp(-logit))
        return np.array([(p[k], 1 - p[k])[:: 1 if i % 2 == 0 else -1] for k, i in enumerate(numbers)])


def runs_of(network: Network, pictures: ImageSet) -> TrialRuns:
    return TrialRuns(network, GIVEN, LABELS, SOFTMAX, pictures)


def noise(i: int) -> float:
    """Evenly distributed over -1..1, each picture its own."""
    return (i * 37 % 200) / 100 - 1
