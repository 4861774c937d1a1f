"""Describe and check where a network comes from, in milliseconds; `convert.keras_models.loader` loads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from convert.errors import SourceError
from edge_runtime.artifact import TFLITE_IDENTIFIER

DEMO = "demo"
IMAGENET = "imagenet"
WEIGHTS_FILE = "weights file"
MODEL_FILE = "model file"
SAVED_MODEL = "SavedModel"
TFLITE = "TFLite file"
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
WEIGHTS_SUFFIXES = (".h5", ".hdf5")
SAVED_MODEL_GRAPH = "saved_model.pb"
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
        model: "demo", "imagenet", or the path of a Keras model. Not used when `weights` is given.
        weights: weights of the article's architecture, or None.
        classes: number of classes of `weights`.
        input_size: height and width in pixels, one number if they are equal; or None for the network's own.
    """

    model: str = DEMO
    weights: Path | None = None
    classes: int | None = None
    input_size: Size | None = None

    @property
    def origin(self) -> str:
        """Return which loader of `convert.keras_models.loader` reads it."""
        if self.weights is not None:
            return WEIGHTS_FILE
        if self.model in (DEMO, IMAGENET):
            return self.model
        path = Path(self.model)
        return SAVED_MODEL if path.is_dir() else TFLITE if _is_tflite(path) else MODEL_FILE

    @property
    def is_ours(self) -> bool:
        """Return whether preprocessing and labels are known: those of the demo and the published ImageNet weights."""
        return self.weights is None and self.model in (DEMO, IMAGENET)

    @property
    def file(self) -> Path | None:
        """Return the user's file behind this source, or None for the demo and ImageNet."""
        return self.weights or (None if self.is_ours else Path(self.model))

    @property
    def name(self) -> str:
        """Return a short name for the artifact's file name."""
        if self.file is None:
            return f"irv2-{self.model}"
        name = self.file.name.removesuffix(".weights.h5").rsplit(".", 1)[0] or "model"
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
                    f"--weights {self.weights} is for the article's network, --model {self.model} is another network: "
                    "pass only one of them"
                )
            if self.classes is None:
                raise SourceError(
                    f"--weights {self.weights} needs --classes N: the file does not tell its number of classes"
                )
            if self.classes < 2:
                raise SourceError(f"--classes {self.classes} is too few: a classifier has at least 2")
            _check_file(self.weights, WEIGHTS_SUFFIXES, "weights")
        elif self.origin == SAVED_MODEL:
            _check_saved_model(Path(self.model))
        elif self.origin == MODEL_FILE:
            _check_file(Path(self.model), MODEL_SUFFIXES, "model")
        if self.weights is None and self.classes is not None:
            raise SourceError(f"--classes {self.classes} goes with --weights FILE: a whole model knows its classes")
        is_known = self.is_ours or self.weights is not None
        if is_known and min(self.size or (MINIMUM_INPUT_SIZE,)) < MINIMUM_INPUT_SIZE:
            raise SourceError(
                f"--input-size {size_text(self.input_size)} is too small: Inception-ResNet-V2 needs at least "
                f"{MINIMUM_INPUT_SIZE} pixels"
            )


def height_and_width(size: Size | None) -> tuple[int, int] | None:
    """Return a size, of which one number stands for a square, as height and width."""
    return None if size is None else (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def as_size(value: Any) -> Size | None:
    """Return a size as JSON holds it, which has no tuples."""
    return value if value is None or isinstance(value, int) else (int(value[0]), int(value[1]))


def size_text(size: Size | None) -> str:
    """Return a size as `--input-size` takes it."""
    return str(size) if size is None or isinstance(size, int) else "x".join(map(str, size))


def _check_file(path: Path, suffixes: tuple[str, ...], kind: str) -> None:
    is_checkpoint = path.name == "checkpoint" or path.with_name(path.name + ".index").exists() or ".ckpt" in path.name
    if is_checkpoint or path.suffix == ".index" or ".data-" in path.name:
        raise SourceError(
            f"{path} is a TensorFlow checkpoint, which is not supported: load it where it was made and "
            "save it with model.save_weights('NAME.weights.h5')"
        )
    if path.is_dir():
        raise SourceError(f"{path} is a folder: save the {kind} as one file ending in {' or '.join(suffixes)}")
    if not path.exists():
        raise SourceError(f"{kind} {path} does not exist: pass demo, imagenet or the path of a Keras file")
    if path.suffix.lower() not in suffixes:
        raise SourceError(f"{kind} {path} is not a Keras file: it must end in {' or '.join(suffixes)}")


def _is_tflite(path: Path) -> bool:
    """Return whether a file begins as a TFLite flatbuffer does."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] == TFLITE_IDENTIFIER
    except OSError:
        return False


def _check_saved_model(folder: Path) -> None:
    """Refuse a folder that is no SavedModel of TensorFlow 2, as far as the names of its files tell."""
    if (folder / SAVED_MODEL_GRAPH).is_file():
        return
    names = sorted(path.name for path in folder.iterdir())
    if any(name == "checkpoint" or name.endswith(".index") for name in names):
        raise SourceError(
            f"{folder} holds a TensorFlow checkpoint, which is not supported: load it where it was made and "
            "save it with model.save_weights('NAME.weights.h5')"
        )
    raise SourceError(f"{folder} is a folder: a SavedModel has a {SAVED_MODEL_GRAPH} in it; pass that folder")
