"""Open what is compared: an artifact, a bare `.tflite`, a Keras model, or stored predictions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from convert.drift import stored_predictions
from convert.drift.predictions import Predictor, Rows
from convert.errors import SourceError
from convert.images.conventions import input_spec
from convert.images.dataset import ImageSet
from convert.images.reader import PixelReader
from convert.keras_models.sources import MODEL_SUFFIXES, ModelSource
from convert.lowering.lower import images_to_compare
from convert.system.progress import Progress
from convert.system.temporary import scratch_folder
from convert.tflite.interpreter import open_engine
from edge_runtime import Classifier, InputSpec
from edge_runtime.artifact import has_card

STORED_SUFFIX = ".npz"
MOST_WORKERS = 4
"""Each interpreter has its own copy of the weights, in the layout that its kernels want."""


@dataclass(frozen=True, kw_only=True)
class ModelPredictor(Predictor):
    """A model that the shipped `Classifier` computes."""

    classifier: Classifier

    def rows(self, images: ImageSet, skipped: list[str]) -> Rows:
        """Predict as many images at once as there are workers, while the next ones are decoded."""
        return PixelReader(self.spec, skipped).run(images, self.classifier.run, self.classifier.receipt.workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.classifier.close()


@dataclass(frozen=True)
class ModelOptions:
    """Preprocessing (convention or file) and labels of a model without a card, None where they were not given."""

    preprocessing: str | None = None
    labels: tuple[str, ...] | None = None

    def with_preprocessing(self, preprocessing: str | None) -> ModelOptions:
        """Return the same options with another preprocessing, if it is given."""
        return self if preprocessing is None else replace(self, preprocessing=preprocessing)


def open_model(path: Path, spec: InputSpec | None = None, labels: Sequence[str] | None = None) -> ModelPredictor:
    """Open a `.tflite` on this machine's CPU for many images.

    An artifact is opened as a device opens it; `spec` and `labels` are for a model without a card. Two interpreters of
    one thread each answer more images than one of two threads, to the same bits. Errors are those of `Classifier.open`.
    """
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    classifier = Classifier.open(path, engine="litert", delegate="cpu", workers=workers, spec=spec, labels=labels)
    source = {} if classifier.artifact is None else classifier.artifact.card.source
    return ModelPredictor(
        path=path,
        labels=classifier.labels,
        spec=classifier.spec,
        step=classifier.step,
        keras_sqnr_db=source.get("keras_sqnr_db"),
        classifier=classifier,
    )


def open_tflite(path: Path, options: ModelOptions) -> ModelPredictor:
    """Open an artifact, or a `.tflite` without a card as `options` describe it; `SourceError` if they do not."""
    if has_card(path) or not path.is_file():
        return open_model(path)
    if options.preprocessing is None:
        raise SourceError(f"{path} has no card: pass --preprocessing to say how its images are prepared, and --labels")
    size = open_engine(path).input_shape[1:]
    return open_model(path, input_spec(options.preprocessing, *size), options.labels)


@contextmanager
def open_reference(path: Path, options: ModelOptions, images: ImageSet, progress: Progress) -> Iterator[Predictor]:
    """Open stored predictions (`.npz`), a Keras model or a `.tflite`; an `EdgeError` names the file.

    A Keras model is lowered, and compared with the result on a few of the images.
    """
    suffix = path.suffix.lower()
    if suffix == STORED_SUFFIX:
        yield stored_predictions.load(path)
    elif suffix in MODEL_SUFFIXES:
        with _lowered(path, options, images, progress) as lowered:
            yield lowered
    else:
        with open_tflite(path, options) as model:
            yield model


@contextmanager
def _lowered(path: Path, options: ModelOptions, images: ImageSet, progress: Progress) -> Iterator[ModelPredictor]:
    """Lower a Keras model and open the result, which needs the [convert] extra."""
    from convert.lowering.lower import LoweringRequest, lower

    source = ModelSource(str(path))
    source.check()
    with scratch_folder(Path(tempfile.gettempdir())) as scratch:
        request = LoweringRequest(source, options.preprocessing, images_to_compare(images), scratch)
        lowered = lower(request, progress)
        written = scratch / "reference.tflite"
        written.write_bytes(lowered.model)
        with open_model(written, lowered.spec, options.labels) as model:
            yield replace(model, path=path, keras_sqnr_db=lowered.keras_sqnr_db)
