"""Describe and check where a network comes from, in milliseconds; `convert.keras_models.loader` loads it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from convert.errors import SourceError
from convert.keras_models import formats
from convert.keras_models.formats import Format, recognize, refuse
from convert.keras_models.weight_formats import checkpoint_data, checkpoint_index, weights_format
from convert.system.content import content_sha256
from edge_runtime.nearby import did_you_mean

DEMO = "demo"
IMAGENET = "imagenet"
WEIGHTS_FILE = "weights file"
MODEL_FILE = "model file"
SAVED_MODEL = "SavedModel"
TFLITE = "TFLite file"
ORIGINS = {
    formats.MODEL: MODEL_FILE,
    formats.WEIGHTS: WEIGHTS_FILE,
    formats.SAVED_MODEL: SAVED_MODEL,
    formats.TFLITE: TFLITE,
}
"""What a file given as `--model` holds, and which origin that is."""
ARTICLE, KERAS_APPLICATIONS = "article", "keras-applications"
BACKGROUND = "background"
"""The label of TF-Slim's class 0 of ImageNet, which has no images; the 1,000 classes follow."""
NETWORKS_OF_WEIGHTS = (ARTICLE, KERAS_APPLICATIONS)
"""The networks that a weights file can be for; `convert.keras_models.weights.architectures` builds them."""
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
DEMO_WEIGHTS = Path(str(files("convert.keras_models") / "data" / "demo_weights.npz"))
MINIMUM_INPUT_SIZE = 75
"""The smallest height and width that leave a pixel after the five unpadded strided stages of Inception-ResNet-V2."""
Size = int | tuple[int, int]
"""Of images: height and width, or one number for both."""
NOT_TEXT = re.compile("[\ud800-\udfff]")
"""Bytes of a file name that are not UTF-8, as Python represents them; a card holds text only."""


@dataclass(frozen=True)
class ModelSource:
    """Which network to convert.

    Attributes:
        model: "demo", "imagenet", or the path of a network; see `formats`. Not used when `weights` is
            given.
        weights: weights of a network that is known, or None.
        classes: number of classes of `weights`; None for what the file says.
        input_size: height and width in pixels, one number if they are equal; or None for the network's own.
        architecture: which network `weights` are for, of `NETWORKS_OF_WEIGHTS`; None to tell from the file.
        labels: how many the user names, or None; two make a logit of one linear unit.
    """

    model: str = DEMO
    weights: Path | None = None
    classes: int | None = None
    input_size: Size | None = None
    architecture: str | None = None
    labels: int | None = None

    @property
    def origin(self) -> str:
        """Return which loader of `convert.keras_models.loader` reads it, by the content of its file."""
        if self.weights is not None:
            return WEIGHTS_FILE
        return self.model if self.is_ours else ORIGINS.get(self._format.holds, MODEL_FILE)

    @property
    def is_ours(self) -> bool:
        """Return whether preprocessing and labels are known: those of the demo and the published ImageNet weights."""
        return self.weights is None and self.model in (DEMO, IMAGENET)

    @property
    def file(self) -> Path | None:
        """Return the user's file behind this source, or None for the demo and ImageNet."""
        return None if self.is_ours else checkpoint_index(self.weights or Path(self.model))

    @property
    def files(self) -> tuple[Path, ...]:
        """Return all of the user's files behind this source: a checkpoint keeps its data beside its index."""
        return () if self.file is None else (self.file, *checkpoint_data(self.file))

    def sha256(self) -> str | None:
        """Hash the user's files: that of the file as it is, or of the hashes of several; None if there are none."""
        hashes = [content_sha256(path) for path in self.files]
        return hashlib.sha256("".join(hashes).encode()).hexdigest() if len(hashes) > 1 else next(iter(hashes), None)

    @property
    def name(self) -> str:
        """Return a short name for the artifact's file name."""
        if self.file is None:
            return f"irv2-{self.model}"
        name = self.file.name.removesuffix(".weights.h5").rsplit(".", 1)[0].removesuffix(".ckpt") or "model"
        return NOT_TEXT.sub("_", name)

    @property
    def size(self) -> tuple[int, int] | None:
        """Return height and width, or None for the network's own."""
        return height_and_width(self.input_size)

    def check(self) -> None:
        """Refuse a source that cannot be loaded, before anything slow starts.

        Raises:
            SourceError: a file is missing or of a kind that cannot be read, or options contradict each other.
        """
        if self.weights is not None:
            if self.model != DEMO:
                raise SourceError(
                    f"--weights {self.weights} and --model {self.model} are two networks: pass only one of them"
                )
            if self.classes is not None and self.classes < 2:
                raise SourceError(f"--classes {self.classes} is too few: a classifier has at least 2")
            if self.architecture is not None and self.architecture not in NETWORKS_OF_WEIGHTS:
                raise SourceError(
                    f"--architecture {self.architecture} is unknown: pass {' or '.join(NETWORKS_OF_WEIGHTS)}"
                )
            weights_format(checkpoint_index(self.weights))
        elif not self.is_ours:
            self._check_model(Path(self.model))
        is_weights = self.origin == WEIGHTS_FILE
        if not is_weights and self.architecture is not None:
            raise SourceError(
                f"--architecture {self.architecture} goes with --weights FILE: a whole model knows its architecture"
            )
        if not is_weights and self.classes is not None:
            raise SourceError(f"--classes {self.classes} goes with --weights FILE: a whole model knows its classes")
        is_inception = is_weights or self.is_ours
        if is_inception and min(self.size or (MINIMUM_INPUT_SIZE,)) < MINIMUM_INPUT_SIZE:
            raise SourceError(
                f"--input-size {size_text(self.input_size)} is too small: Inception-ResNet-V2 needs at least "
                f"{MINIMUM_INPUT_SIZE} pixels"
            )

    @property
    def _format(self) -> Format:
        path = checkpoint_index(Path(self.model))
        return recognize(path) if path.exists() else formats.NOT_KNOWN

    def _check_model(self, path: Path) -> None:
        """Refuse a file that is not there or holds no network, by name of its format."""
        if not checkpoint_index(path).exists():
            raise SourceError(
                f"model {path} does not exist{did_you_mean(path)}: pass demo, imagenet or the path of a network"
            )
        if not self._format.holds:
            raise refuse(path, self._format)
        if self.origin == WEIGHTS_FILE:
            weights_format(checkpoint_index(path))


def height_and_width(size: Size | None) -> tuple[int, int] | None:
    """Return a size, of which one number stands for a square, as height and width."""
    return None if size is None else (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def as_size(value: Any) -> Size | None:
    """Return a size as JSON holds it, which has no tuples."""
    return value if value is None or isinstance(value, int) else (int(value[0]), int(value[1]))


def sides_text(sides: Sequence[int | None]) -> str:
    """Return height and width, of which None may be any, as `--input-size` takes them: "anyx80"."""
    return "x".join("any" if side is None else str(side) for side in sides)


def size_text(size: Size | None) -> str:
    """Return a size as `--input-size` takes it."""
    return str(size) if size is None or isinstance(size, int) else "x".join(map(str, size))
