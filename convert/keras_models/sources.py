"""Describe and check where a network comes from, in milliseconds; `convert.keras_models.loader` loads it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from convert.errors import SourceError
from convert.keras_models.weight_formats import checkpoint_data, checkpoint_index, weights_format
from edge_runtime.hashing import file_sha256

DEMO = "demo"
IMAGENET = "imagenet"
WEIGHTS_FILE = "weights file"
MODEL_FILE = "model file"
ARTICLE, KERAS_APPLICATIONS = "article", "keras-applications"
BACKGROUND = "background"
"""The label of TF-Slim's class 0 of ImageNet, which has no images; the 1,000 classes follow."""
NETWORKS_OF_WEIGHTS = (ARTICLE, KERAS_APPLICATIONS)
"""The networks that a weights file can be for; `convert.keras_models.architectures` builds them."""
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
DEMO_WEIGHTS = Path(str(files("convert.keras_models") / "data" / "demo_weights.npz"))
MINIMUM_INPUT_SIZE = 75
"""The smallest height and width that leave a pixel after the five unpadded strided stages of Inception-ResNet-V2."""
NOT_TEXT = re.compile("[\ud800-\udfff]")
"""Bytes of a file name that are not UTF-8, as Python represents them; a card holds text only."""


@dataclass(frozen=True)
class ModelSource:
    """Which network to convert.

    Attributes:
        model: "demo", "imagenet", or the path of a Keras model. Not used when `weights` is given.
        weights: weights of a network that is known, or None.
        classes: number of classes of `weights`; None for what the file says.
        input_size: height and width in pixels, or None for the network's own.
        architecture: which network `weights` are for, of `NETWORKS_OF_WEIGHTS`; None to tell from the file.
    """

    model: str = DEMO
    weights: Path | None = None
    classes: int | None = None
    input_size: int | None = None
    architecture: str | None = None

    @property
    def origin(self) -> str:
        """Return which loader of `convert.keras_models.loader` reads it."""
        if self.weights is not None:
            return WEIGHTS_FILE
        return self.model if self.model in (DEMO, IMAGENET) else MODEL_FILE

    @property
    def is_ours(self) -> bool:
        """Return whether preprocessing and labels are known: those of the demo and the published ImageNet weights."""
        return self.origin in (DEMO, IMAGENET)

    @property
    def file(self) -> Path | None:
        """Return the user's file behind this source, or None for the demo and ImageNet."""
        if self.weights is not None:
            return checkpoint_index(self.weights)
        return None if self.is_ours else Path(self.model)

    @property
    def files(self) -> tuple[Path, ...]:
        """Return all of the user's files behind this source: a checkpoint keeps its data beside its index."""
        return () if self.file is None else (self.file, *checkpoint_data(self.file))

    def sha256(self) -> str | None:
        """Hash the user's files: that of the file as it is, or of the hashes of several; None if there are none."""
        hashes = [file_sha256(path) for path in self.files]
        return hashlib.sha256("".join(hashes).encode()).hexdigest() if len(hashes) > 1 else next(iter(hashes), None)

    @property
    def name(self) -> str:
        """Return a short name for the artifact's file name."""
        if self.file is None:
            return f"irv2-{self.model}"
        name = self.file.name.removesuffix(".weights.h5").rsplit(".", 1)[0].removesuffix(".ckpt") or "model"
        return NOT_TEXT.sub("_", name)

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
            _check_file(Path(self.model), MODEL_SUFFIXES, "model")
        if self.weights is None and self.architecture is not None:
            raise SourceError(
                f"--architecture {self.architecture} goes with --weights FILE: a whole model knows its architecture"
            )
        if self.weights is None and self.classes is not None:
            raise SourceError(f"--classes {self.classes} goes with --weights FILE: a whole model knows its classes")
        if self.origin != MODEL_FILE and self.input_size is not None and self.input_size < MINIMUM_INPUT_SIZE:
            raise SourceError(
                f"--input-size {self.input_size} is too small: Inception-ResNet-V2 needs at least "
                f"{MINIMUM_INPUT_SIZE} pixels"
            )


def _check_file(path: Path, suffixes: tuple[str, ...], kind: str) -> None:
    is_checkpoint = path.name == "checkpoint" or path.with_name(path.name + ".index").exists() or ".ckpt" in path.name
    if is_checkpoint or path.suffix == ".index" or ".data-" in path.name:
        raise SourceError(f"{path} is a TensorFlow checkpoint, which holds weights alone: pass it as --weights {path}")
    if path.is_dir():
        raise SourceError(f"{path} is a folder: save the {kind} as one file ending in {' or '.join(suffixes)}")
    if not path.exists():
        raise SourceError(f"{kind} {path} does not exist: pass demo, imagenet or the path of a Keras file")
    if path.suffix.lower() not in suffixes:
        raise SourceError(f"{kind} {path} is not a Keras file: it must end in {' or '.join(suffixes)}")
