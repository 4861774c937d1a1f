"""The two sides of a comparison: an artifact, a bare `.tflite`, a Keras model, or stored answers.

Whatever it is, it has labels, and gives probabilities for images; the shipped `Classifier` computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from convert.drift import stored_predictions
from convert.drift.drift import Predictions, open_for_many
from convert.errors import ImageSetError, SourceError
from convert.images.conventions import CONVENTIONS, input_spec
from convert.images.dataset import MOST_UNREADABLE, ImageSet, PixelReader
from convert.keras_models.sources import MODEL_SUFFIXES, ModelSource
from convert.system.progress import Progress
from convert.tflite.interpreter import open_engine
from edge_runtime import Classifier, EngineError, InputSpec
from edge_runtime.arrays import Array
from edge_runtime.artifact import has_card
from edge_runtime.hashing import file_sha256

COMPARED_WITH_KERAS = 8
STORED_SUFFIX = ".npz"


class Predictor(Protocol):
    """What answers.

    Attributes:
        labels: of its classes.
        spec: how its images are prepared.
        step: `Classifier.step`.
        model_sha256: of the file that answers.
        keras_sqnr_db: how far it is from the Keras network it was lowered from, in dB, where that is known.
    """

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def spec(self) -> InputSpec: ...
    @property
    def step(self) -> float: ...
    @property
    def model_sha256(self) -> str: ...
    @property
    def keras_sqnr_db(self) -> float | None: ...

    def rows(self, images: ImageSet) -> Iterator[tuple[int, Array]]:
        """Index in the set and float32 probabilities (classes,) of each image that can be read, in order."""


@dataclass
class ModelPredictor:
    """A `.tflite` that answers; `name` is its path, `skipped` has a message for each image that could not be read."""

    name: str
    classifier: Classifier
    model_sha256: str
    keras_sqnr_db: float | None = None
    most_unreadable: float = MOST_UNREADABLE
    skipped: list[str] = field(default_factory=list)

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the classifier."""
        return self.classifier.labels

    @property
    def spec(self) -> InputSpec:
        """Of the classifier."""
        return self.classifier.spec

    @property
    def step(self) -> float:
        """Of the classifier."""
        return self.classifier.step

    def rows(self, images: ImageSet) -> Iterator[tuple[int, Array]]:
        """See `Predictor`.

        Raises:
            ImageSetError: at the end, when more than `most_unreadable` could not be read.
            EngineError: an answer is not finite.
        """
        reader = PixelReader(self.spec, self.skipped, self.most_unreadable)
        for index, row in reader.run(images, self.classifier.run, self.classifier.receipt.workers):
            if not np.isfinite(row).all():
                raise EngineError(f"{self.name} answers {images.paths[index]} with NaN or infinity: convert it again")
            yield index, row


@dataclass(frozen=True)
class ModelOptions:
    """What the command line says of a model: preprocessing (convention or file) and labels, None where it does not."""

    preprocessing: str | None = None
    labels: tuple[str, ...] | None = None


@contextmanager
def open_model(path: Path, options: ModelOptions) -> Iterator[ModelPredictor]:
    """An artifact as a device opens it; a model without a card with what the options say of it.

    Raises:
        SourceError: it has no card, and the options do not tell how its images are prepared.
        ArtifactError, EngineError: as of `Classifier.open`.
    """
    with _classifier(path, options) as classifier:
        card = None if classifier.artifact is None else classifier.artifact.card
        keras = None if card is None else card.source.get("keras_sqnr_db")
        yield ModelPredictor(str(path), classifier, file_sha256(path), keras)


@contextmanager
def open_reference(
    path: Path, options: ModelOptions, images: ImageSet, scratch: Path, stage: Callable[[str], None]
) -> Iterator[Predictor]:
    """A reference of any kind.

    Args:
        path: a `.npz` of stored answers, a Keras model, or a `.tflite`.
        options: of a model without a card.
        images: pictures of which a lowered Keras model is compared on a few.
        scratch: folder for it.
        stage: told what takes long.

    Raises:
        EdgeError: a class of it that names the file.
    """
    suffix = path.suffix.lower()
    if suffix == STORED_SUFFIX:
        yield stored_predictions.load(path)
    elif suffix in MODEL_SUFFIXES:
        with _lowered(path, options, images, scratch, stage) as side:
            yield side
    else:
        with open_model(path, options) as side:
            yield side


@contextmanager
def _lowered(
    path: Path, options: ModelOptions, images: ImageSet, scratch: Path, stage: Callable[[str], None]
) -> Iterator[ModelPredictor]:
    """A Keras model is lowered first, which needs the [convert] extra."""
    from convert.lowering.lower import LoweringRequest, lower

    if options.preprocessing is None:
        raise SourceError(
            f"{path} does not say how its images were prepared: pass --reference-preprocessing "
            f"{'|'.join(CONVENTIONS)} or a JSON file"
        )
    source = ModelSource(str(path))
    source.check()
    few = images.paths[:COMPARED_WITH_KERAS]
    lowered = lower(LoweringRequest(source, options.preprocessing, few, scratch / "reference.tflite"), stage)
    with _classifier(lowered.path, options) as classifier:
        yield ModelPredictor(str(path), classifier, lowered.weights_sha256, lowered.keras_sqnr_db)


def _classifier(path: Path, options: ModelOptions) -> Classifier:
    if has_card(path) or not path.is_file():
        return open_for_many(path)
    if options.preprocessing is None:
        raise SourceError(f"{path} has no card: pass --preprocessing to say how its images are prepared, and --labels")
    _, height, width, _ = open_engine(path).input_shape
    spec = input_spec(options.preprocessing, height, width)
    return open_for_many(path, spec, options.labels)


def predict_all(side: Predictor, images: ImageSet, progress: Progress, name: str) -> Predictions:
    """The answers of one side to all images that it can read.

    Raises:
        ImageSetError: more than a tenth of the images, or all of them, cannot be read.
    """
    indices, rows = [], []
    for index, row in progress.track(side.rows(images), name, len(images)):
        indices.append(index)
        rows.append(row)
    if not rows:
        raise ImageSetError(f"no image in {images.root} could be read")
    return Predictions(tuple(images.paths[i] for i in indices), np.stack(rows), side.labels, step=side.step)
