"""Open what is compared: an artifact, a bare `.tflite`, a Keras model, or stored predictions."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from convert.drift import stored_predictions
from convert.drift.predictions import Predictor, Rows
from convert.errors import MissingExtraError, PreprocessingUnknownError, SizeUnknownError, SourceError, as_source_errors
from convert.images.conventions import CONVENTIONS, every_key, fitted, fitted_alike, input_spec
from convert.images.dataset import ImageSet
from convert.images.reader import PixelReader
from convert.keras_models.sources import MODEL_FILE, MODEL_SUFFIXES, SAVED_MODEL, WEIGHTS_FILE, ModelSource
from convert.keras_models.weight_formats import checkpoint_index
from convert.lowering.lower import LoweredModel, LoweringRequest, images_to_compare, lower
from convert.system.progress import Progress
from convert.system.temporary import scratch_folder
from edge_runtime import ArtifactError, Classifier, EdgeError, InputSpec
from edge_runtime._graph_check import compiled_operator
from edge_runtime.artifact import check_tflite, has_card, open_artifact
from edge_runtime.custom_operators import COMPILED
from edge_runtime.foreign.file import ForeignFile
from edge_runtime.foreign.reading import read_foreign
from edge_runtime.nearby import did_you_mean

STORED_SUFFIX, TFLITE_SUFFIX = ".npz", ".tflite"
MOST_WORKERS = 4
"""Each interpreter has its own copy of the weights, in the layout that its kernels want."""


@dataclass(frozen=True, kw_only=True)
class ModelPredictor(Predictor):
    """A model that the shipped `Classifier` computes.

    `is_told`: an option, not its file, says how its images are prepared.
    """

    classifier: Classifier
    is_told: bool = False

    def rows(self, images: ImageSet, skipped: list[str]) -> Rows:
        """Predict as many images at once as there are workers, while the next ones are decoded."""
        return PixelReader(self.spec, skipped).run(images, self.classifier.run, self.classifier.receipt.workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.classifier.close()


@dataclass(frozen=True)
class ModelOptions:
    """What is said of models without a card, None where it was not.

    Attributes:
        preprocessing: convention or file.
        labels: of the classes, in the model's order.
        input_size: height and width of a model that takes any.
        fallback: how images are prepared for a model that does not say it, where `preprocessing` does not either.
        fit: how pictures are fitted to it, as `--fit` takes it.
        geometry: of the candidate's card, for a reference of which nobody says how pictures are fitted to it.
        other_size: of the model that it is compared with, for one that takes any size of which nobody says which.
        by_wordnet: labels by the WordNet numbers by which class folders may be called.
    """

    preprocessing: str | None = None
    labels: tuple[str, ...] | None = None
    input_size: tuple[int, int] | None = None
    by_wordnet: Mapping[str, str] = field(default_factory=dict)
    fallback: InputSpec | None = None
    fit: str | None = None
    geometry: InputSpec | None = None
    other_size: tuple[int, int] | None = None

    def named(self, images: ImageSet) -> ImageSet:
        """Return a set whose class folders have names of labels in place of WordNet numbers."""
        return images.with_folders(self.by_wordnet)

    def placed(self, spec: InputSpec) -> InputSpec:
        """Return how images are prepared, with the geometry that is said, or else that of `geometry`."""
        if self.geometry is not None and self.fit is None:
            return fitted_alike(spec, self.preprocessing, self.geometry)
        return fitted(spec, self.fit)

    def size_of(self, own: tuple[int, int] | None) -> tuple[int, int] | None:
        """Return the size that was said of a model, which may have its `own`: then what is the other's is not its."""
        return None if own is not None and self.input_size == self.other_size else self.input_size

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
        head=classifier.head,
        remarks=classifier.receipt.remarks,
        classifier=classifier,
    )


def open_tflite(path: Path, options: ModelOptions, progress: Progress) -> ModelPredictor:
    """Open an artifact, or a `.tflite` without a card as `options` describe it; `SourceError` if they do not."""
    if (compiled := compiled_operator(path)) is not None:
        hardware = COMPILED[compiled].name
        raise SourceError(f"{path} is compiled for {hardware} ({compiled}): compare what it was compiled from")
    if has_card(path) or not path.is_file():
        return open_model(path)
    check_tflite(path)
    with as_source_errors():
        file = read_foreign(path)
        spec = options.placed(_foreign_spec(file, options, progress))
    is_told = options.preprocessing is not None and not file.takes_pixels
    return replace(open_model(path, spec, options.labels), is_told=is_told)


def _foreign_spec(file: ForeignFile, options: ModelOptions, progress: Progress) -> InputSpec:
    """Return how images are prepared; of a size that nobody says, as for the model which it is compared with."""
    size = options.size_of(file.size)
    try:
        return file.spec(options.preprocessing, size)
    except ArtifactError as unknown:
        if file.size is not None or size is not None or options.other_size is None:
            raise
        try:
            spec = file.spec(options.preprocessing, options.other_size)
        except ArtifactError:
            raise unknown from None
    _note_size(file.path, options.other_size, progress)
    return spec


def size_said_by(path: Path) -> tuple[int, int] | None:
    """Return height and width that a `.tflite` or stored predictions say themselves; None if they do not."""
    with suppress(EdgeError):
        if path.suffix.lower() == STORED_SUFFIX:
            stored = stored_predictions.load(path).spec
            return stored.height, stored.width
        if has_card(path):
            spec = open_artifact(path).card.preprocessing
            return spec.height, spec.width
        return read_foreign(path).size if path.suffix.lower() == TFLITE_SUFFIX else None
    return None


def _note_size(path: Path, size: tuple[int, int], progress: Progress) -> None:
    progress.note(f"{path} leaves the size of images open: {size[0]}x{size[1]}, as its counterpart; else --input-size")


def _open_reference_tflite(path: Path, options: ModelOptions, progress: Progress) -> ModelPredictor:
    """Open a `.tflite` as a reference; one that says nothing of its images gets the fallback."""
    is_silent = options.preprocessing is None and options.fallback is not None and path.is_file() and not has_card(path)
    if not is_silent or read_foreign(path).describes_itself:
        return open_tflite(path, options, progress)
    assert options.fallback is not None
    with as_option(options.fallback) as preprocessing:
        model = open_tflite(path, options.with_preprocessing(preprocessing), progress)
    _note_fallback(path, model.spec, progress)
    return model


def _note_fallback(path: Path, spec: InputSpec, progress: Progress) -> None:
    mean, std = (" ".join(f"{value:g}" for value in dict.fromkeys(values)) for values in (spec.mean, spec.std))
    progress.note(
        f"{path} does not say how its images were prepared: as for the candidate, by its card (mean {mean}, std "
        f"{std}); if it differs, pass --reference-preprocessing"
    )


def said_at_conversion(model: ModelPredictor) -> InputSpec | None:
    """Return what a model's card tells that the user said of the images when it was converted.

    None where nobody said it: the front of the network did, or the first convolution took up a part of it, so that
    what the card says of the images is right for this model alone.
    """
    artifact = model.classifier.artifact
    if artifact is None or "build" not in artifact.card.source:
        return None
    source = artifact.card.source
    if "preprocessing" in source:
        return InputSpec.from_json(source["preprocessing"])
    return None if source.get("front") else artifact.card.preprocessing


@contextmanager
def as_option(spec: InputSpec) -> Iterator[str]:
    """Put a specification the way `--preprocessing` takes it: a convention, or a file for images of any size."""
    said = every_key(spec)
    known = [name for name, each in CONVENTIONS.items() if spec.channels == 3 or each.serves_grey]
    for name in known:
        if every_key(input_spec(name, spec.height, spec.width, spec.channels)) == said:
            yield name
            return
    with tempfile.TemporaryDirectory(prefix="irv2-edge-") as folder:
        file = Path(folder) / "preprocessing.json"
        file.write_text(json.dumps({key: value for key, value in said.items() if key not in ("height", "width")}))
        yield str(file)


def with_labels_of(candidate: Predictor, reference: Predictor, progress: Progress) -> Predictor:
    """Return a reference whose classes have only numbers with the labels of a candidate that has as many."""
    numbers = tuple(str(i) for i in range(len(candidate.labels)))
    if reference.labels != numbers or set(candidate.labels) == set(numbers):
        return reference
    progress.note(f"{reference.path} names no labels: those of {candidate.path}, in its order; else pass --labels")
    return replace(reference, labels=candidate.labels)


@contextmanager
def open_reference(path: Path, options: ModelOptions, images: ImageSet, progress: Progress) -> Iterator[Predictor]:
    """Open stored predictions (`.npz`), a Keras file, a SavedModel or a `.tflite`; an `EdgeError` names the file.

    A Keras file or a SavedModel is lowered, and compared with the result on a few of the images.
    """
    if path.suffix.lower() == STORED_SUFFIX:
        yield stored_predictions.load(path)
    elif needs_lowering(path):
        with _lowered(path, options, images, progress) as lowered:
            yield lowered
    else:
        with _open_reference_tflite(path, options, progress) as model:
            yield model


def needs_lowering(path: Path) -> bool:
    """Return whether a reference has to become a `.tflite` first; a file that is missing is told by its suffix."""
    origin, suffix = ModelSource(str(path)).origin, path.suffix.lower()
    is_file = suffix in MODEL_SUFFIXES or (path.is_file() and suffix not in (TFLITE_SUFFIX, STORED_SUFFIX))
    return origin in (SAVED_MODEL, WEIGHTS_FILE) or (origin == MODEL_FILE and is_file)


@contextmanager
def _lowered(path: Path, options: ModelOptions, images: ImageSet, progress: Progress) -> Iterator[ModelPredictor]:
    """Lower a Keras model and open the result, which needs the [convert] extra."""
    labels = None if options.labels is None else len(options.labels)
    source = ModelSource(str(path), labels=labels)
    if not checkpoint_index(path).exists():
        raise SourceError(
            f"reference {path} does not exist{did_you_mean(path)}: pass a Keras file, a .tflite or stored answers "
            "(.npz)"
        )
    source.check()
    with scratch_folder(Path(tempfile.gettempdir())) as scratch:
        request = LoweringRequest(source, options.preprocessing, images_to_compare(images), scratch)
        lowered = _lower_as_said(request, path, options, progress)
        written = scratch / "reference.tflite"
        written.write_bytes(lowered.model)
        with open_model(written, options.placed(lowered.spec), options.labels) as model:
            is_told = options.preprocessing is not None and not lowered.front
            yield replace(model, path=path, keras_sqnr_db=lowered.keras_sqnr_db, is_told=is_told)


def _lower_as_said(request: LoweringRequest, path: Path, options: ModelOptions, progress: Progress) -> LoweredModel:
    """Lower a reference; what neither its file nor an option says is as for the candidate."""
    with ExitStack() as said:
        while True:
            try:
                lowered = lower(request, progress)
                break
            except MissingExtraError as error:
                raise MissingExtraError(
                    f"{error}; or store its answers where that is, irv2-drift --save-reference ref.npz --reference "
                    f"{path} --images DIR, and compare with ref.npz"
                ) from error
            except SizeUnknownError:
                size = options.input_size or options.other_size
                if size is None or request.source.input_size is not None:
                    raise
                request = replace(request, source=replace(request.source, input_size=size))
                if options.input_size is None:
                    _note_size(path, size, progress)
            except PreprocessingUnknownError:
                if options.fallback is None or request.preprocessing is not None:
                    raise
                request = replace(request, preprocessing=said.enter_context(as_option(options.fallback)))
    if request.preprocessing != options.preprocessing:
        _note_fallback(path, lowered.spec, progress)
    return lowered
