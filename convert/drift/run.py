"""`irv2-drift` as a function: open both sides, run them over the images, compare, judge, and say all of it as JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convert.drift import attribution, drift, early_stopping, stored_predictions
from convert.drift.attribution import DriftSource
from convert.drift.comparison import Comparison
from convert.drift.drift import ANYTIME, FIXED, Drift, Gate, Limits, Predictions
from convert.drift.models import (
    STORED_SUFFIX,
    ModelOptions,
    ModelPredictor,
    Predictor,
    open_model,
    open_reference,
    predict_all,
)
from convert.drift.stored_predictions import StoredPredictions
from convert.errors import SourceError
from convert.images.conventions import CONVENTIONS, input_spec
from convert.images.dataset import SHUFFLE_SEED, ImageSet, Snapshot, find_images
from convert.images.reader import note_skipped
from convert.system.machine import environment
from convert.system.progress import Progress
from convert.system.temporary import scratch_folder
from edge_runtime import InputSpec


@dataclass(frozen=True)
class Request:
    """What to compare.

    Attributes:
        candidate: any `.tflite`.
        reference: a `.tflite`, a Keras model, or stored answers.
        images: folder; class folders give labels.
        images_size: most images of it, or None for all.
        candidate_options: of a candidate without a card.
        reference_options: of a reference without one.
        reference_kernels: whether the candidate is also run on reference kernels, for blame.
        recorded: what `irv2-predict --record` wrote on a device, for blame; or None.
        on_purpose: whether `reference_options` were given for the reference alone, not meant for both sides.
    """

    candidate: Path
    reference: Path
    images: Path
    images_size: int | None = None
    candidate_options: ModelOptions = field(default_factory=ModelOptions)
    reference_options: ModelOptions = field(default_factory=ModelOptions)
    on_purpose: bool = False
    reference_kernels: bool = False
    recorded: Path | None = None

    def image_set(self) -> ImageSet:
        """The images, in a seeded shuffle."""
        return find_images(self.images).shuffled()[: self.images_size]


@dataclass(frozen=True)
class Measured:
    """What a run found.

    Attributes:
        compared: the answers of both sides.
        drift, gate: what they come to.
        report: all of it as JSON.
    """

    compared: Comparison
    drift: Drift
    gate: Gate
    report: dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Attributes:
        artifact, reference: as in the report.
        available: how many images there were to choose from.
        unreadable: how many of those that were tried could not be read.
        keras_sqnr_db: as of `convert.drift.models.Predictor`.
        steps: what else is blamed.
    """

    artifact: dict[str, Any]
    reference: dict[str, Any]
    available: int
    unreadable: int
    keras_sqnr_db: float | None = None
    steps: tuple[DriftSource, ...] = ()


def run(request: Request, limits: Limits, stop_early: bool, progress: Progress) -> Measured:
    """Compare the two sides of a request.

    Args:
        request: what to compare.
        limits: of the gate.
        stop_early: whether the run ends at the first image at which the verdict is certain; it is then judged by
            intervals that allow for that.
        progress: told what happens.

    Raises:
        EdgeError: a class of it that names the offending file.
    """
    images = request.image_set()
    files = Snapshot.take(images)
    with open_models(request, images, progress) as (reference, candidate):
        watch = (
            early_stopping.EarlyStopping.of(reference, candidate, images, limits)
            if stop_early
            else early_stopping.never
        )
        wanted, found = early_stopping.predict_both(reference, candidate, images, watch, progress)
        files.refuse_changes()
        note_skipped(progress.note, candidate.skipped, images)
        if len(found.paths) + len(candidate.skipped) < len(images):
            progress.note(f"certain after {len(found.paths)} of {len(images)} images")
        subject = Subject(
            {
                "path": str(request.candidate),
                "bytes": request.candidate.stat().st_size,
                "sha256": candidate.model_sha256,
            },
            {"path": str(request.reference), "model_sha256": reference.model_sha256},
            len(images),
            len(candidate.skipped),
            first_known(reference.keras_sqnr_db, candidate.keras_sqnr_db),
            tuple(_steps(request, candidate, images, progress)),
        )
        return judged(subject, wanted, found, images, limits, ANYTIME if stop_early else FIXED)


def first_known(*figures: float | None) -> float | None:
    """The first that is not None."""
    return next((figure for figure in figures if figure is not None), None)


def _steps(request: Request, candidate: ModelPredictor, images: ImageSet, progress: Progress) -> Iterator[DriftSource]:
    """What else was asked to be blamed."""
    if request.reference_kernels:
        yield attribution.kernels(candidate, request.candidate, images, progress)
    if request.recorded is not None:
        yield attribution.device(request.recorded, candidate, request.candidate, find_images(request.images), progress)


def judged(
    subject: Subject, wanted: Predictions, found: Predictions, images: ImageSet, limits: Limits, interval: str
) -> Measured:
    """Compare and judge two sets of answers to `images`, or to the first of them; see `drift.compare`."""
    truth = drift.truth(images, wanted)
    measured = drift.compare(wanted, found, truth, interval)
    gate = drift.judge(measured, limits)
    report = {
        "artifact": subject.artifact,
        "reference": subject.reference,
        "sampling": {
            "available": subject.available,
            "unreadable": subject.unreadable,
            "seed": SHUFFLE_SEED,
            "interval": interval,
        },
        "drift": measured.to_json(),
        "gate": gate.to_json(),
        "blame": attribution.to_json([*attribution.conversion(subject.keras_sqnr_db, measured), *subject.steps]),
        "environment": environment(),
    }
    return Measured(Comparison(wanted, found, truth), measured, gate, report)


@contextmanager
def open_models(
    request: Request, images: ImageSet, progress: Progress, checked: ImageSet | None = None
) -> Iterator[tuple[Predictor, ModelPredictor]]:
    """Both sides, which fit each other and the images.

    Args:
        request: what to compare.
        images: all images of the run.
        progress: told what takes long.
        checked: the images to hold against a stored reference, by default all of the run.

    Raises:
        EdgeError: one cannot be opened, or does not fit.
    """
    with (
        scratch_folder(Path(tempfile.gettempdir())) as scratch,
        open_model(request.candidate, request.candidate_options) as candidate,
        open_reference(request.reference, request.reference_options, images, scratch, progress.stage) as reference,
    ):
        if isinstance(reference, StoredPredictions):
            _check_stored(reference, request, candidate, checked or images)
        drift.class_order(reference.labels, candidate.labels)
        images.class_indices(reference.labels)
        yield reference, candidate


def _check_stored(reference: StoredPredictions, request: Request, candidate: ModelPredictor, images: ImageSet) -> None:
    by, spec = str(request.candidate), candidate.spec
    if request.on_purpose:
        by, spec = "--reference-preprocessing", _stated(request, reference)
    reference.check_labels(candidate.labels, str(request.candidate))
    reference.check_preprocessing(spec, by)
    reference.check_images(images, find_images(request.images))


def _stated(request: Request, reference: StoredPredictions) -> InputSpec:
    """The preprocessing stated of a reference; a convention leaves open how JPEGs are decoded."""
    preprocessing = request.reference_options.preprocessing
    assert preprocessing is not None
    spec = input_spec(preprocessing, reference.spec.height, reference.spec.width)
    return replace(spec, decode=reference.spec.decode) if preprocessing in CONVENTIONS else spec


def save_reference(
    path: Path, reference: Path, options: ModelOptions, images: ImageSet, progress: Progress
) -> StoredPredictions:
    """Let a float network answer all images, and store its answers.

    Args:
        path: of the `.npz` to write.
        reference: a `.tflite` or a Keras model.
        options: of one without a card.
        images: what to ask it.
        progress: told what happens.

    Raises:
        SourceError: the reference is stored already, or `path` is no `.npz`.
        EdgeError: a class of it that names the offending file.
    """
    if reference.suffix.lower() == STORED_SUFFIX:
        raise SourceError(f"--reference {reference} is stored already: pass the float model to --save-reference")
    stored_predictions.check_name(path)
    with (
        scratch_folder(Path(tempfile.gettempdir())) as scratch,
        open_reference(reference, options, images, scratch, progress.stage) as side,
    ):
        images.class_indices(side.labels)
        answers = predict_all(side, images, progress, "reference")
        return stored_predictions.save(path, answers, images, side.spec, side.model_sha256, side.keras_sqnr_db)
