"""What all schemes of one run share: the float network, what was fitted to it, and its own answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import calibration_data
from convert import building
from convert.building import FloatModel
from convert.errors import SourceError
from convert.gate import drift
from convert.gate.drift import Answers
from convert.image_sets import ImageSet, find_images, note_skipped
from convert.job import Inputs, Job
from convert.network.lowering import LoweringRequest, lower
from convert.plausibility import refuse_wrong_preprocessing
from convert.preprocessing import input_spec
from convert.progress import Progress
from convert.quantization.ends import check_ends
from convert.quantization.fitting import FitRequest, Fitted, fit

COMPARED_WITH_KERAS = 8


@dataclass(frozen=True)
class Prepared:
    """All that the schemes of one run share: the float network, what was fitted to it, and its own answers.

    `kept` are names of the tensors whose operators `--keep-float` leaves in float.
    """

    job: Job
    inputs: Inputs
    network: FloatModel
    kept: tuple[str, ...]
    fitted: Fitted | None
    reference: Answers | None
    timings_s: dict[str, float]
    scratch: Path


def prepare(job: Job, inputs: Inputs, scratch: Path, progress: Progress) -> Prepared:
    """Lower, check what can be checked now, fit, and ask the float network.

    Args:
        job, inputs: what to convert, as `job.check` found it.
        scratch: an empty folder that outlives what is returned.
        progress: told of each stage.
    """
    timings: dict[str, float] = {}
    with timed(timings, "lowering"):
        network = _lower(job, inputs, scratch, progress)
    for io in sorted(set(inputs.io.values())):
        check_ends(network.model, io, network.spec)
    kept = () if job.keep_float is None else building.matching_layers(network.model, job.keep_float)
    if not job.source.is_ours:
        labelled = inputs.validation or inputs.calibration
        refuse_wrong_preprocessing(network.model, network.spec, network.labels, labelled)
    with timed(timings, "calibration"):
        fitted = _fit(job, inputs, network, progress)
    with timed(timings, "reference"):
        reference = _reference_answers(network, inputs.validation, progress)
    return Prepared(job, inputs, network, kept, fitted, reference, timings, scratch)


@contextmanager
def timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Put the seconds of a block into `timings`."""
    start = time.perf_counter()
    yield
    timings[name] = round(time.perf_counter() - start, 3)


def _lower(job: Job, inputs: Inputs, scratch: Path, progress: Progress) -> FloatModel:
    pictures = inputs.validation or inputs.calibration or find_images(calibration_data.VALIDATION)
    request = LoweringRequest(
        job.source, inputs.preprocessing, _of_different_classes(pictures), scratch / "float.tflite"
    )
    lowered = lower(request, progress.stage)
    progress.note(f"float TFLite agrees with Keras to {lowered.keras_sqnr_db:.0f} dB")
    labels = inputs.labels or lowered.labels or tuple(str(i) for i in range(lowered.classes))
    if len(labels) != lowered.classes:
        raise SourceError(f"--labels {job.labels} has {len(labels)} labels, the network has {lowered.classes} classes")
    if inputs.validation is not None:
        inputs.validation.class_indices(labels)
    spec = input_spec(inputs.preprocessing, lowered.height, lowered.width)
    return FloatModel(lowered, lowered.path.read_bytes(), spec, labels)


def _of_different_classes(images: ImageSet) -> tuple[Path, ...]:
    """A few pictures, of different classes where there are any: equal ones would show little."""
    folders = images.folders or tuple(map(str, images.paths))
    first_of = {folder: path for path, folder in reversed(list(zip(images.paths, folders, strict=True)))}
    return tuple(first_of.values())[:COMPARED_WITH_KERAS]


def _fit(job: Job, inputs: Inputs, network: FloatModel, progress: Progress) -> Fitted | None:
    if inputs.calibration is None:
        return None
    request = FitRequest(job.calibrator, until_enough=job.calibration_size is None)
    return fit(network.model, network.spec, inputs.calibration, inputs.held_out, request, progress)


def _reference_answers(network: FloatModel, images: ImageSet | None, progress: Progress) -> Answers | None:
    if images is None:
        return None
    with drift.open_for_many(network.lowered.path, network.spec, network.labels) as classifier:
        answers = drift.answer(classifier, images, lambda done: progress.count("float reference", done, len(images)))
    note_skipped(progress.note, answers.skipped, images)
    return answers
