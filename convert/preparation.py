"""The first half of a conversion, which all its schemes share: the float network, its calibration, its predictions.

Each stage is cached; what it takes is in the key.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import calibration_data
from convert.cache.stages import (
    CalibrationRequest,
    StageCache,
    calibrating,
    float_predictions,
    lowering,
    preprocessing_check,
    preprocessing_choice,
)
from convert.cache.store import open_cache
from convert.checking import choosing_images, labelled_source
from convert.drift.label_notes import guess_warnings
from convert.drift.predictions import Predictions
from convert.errors import PreprocessingUnknownError, SourceError
from convert.images.conventions import fitted, input_spec
from convert.images.dataset import find_images
from convert.images.label_order import folder_notes
from convert.images.preprocessing_check import MOST
from convert.images.preprocessing_choice import TRIED_FIRST, ChosenPreprocessing
from convert.job import Inputs, Job
from convert.keras_models.sources import BACKGROUND, DEMO, SAVED_MODEL, TFLITE, ModelSource
from convert.lowering.lower import FloatModel, LoweringRequest, images_to_compare
from convert.quantization.calibrate import Calibration, CalibrationOptions
from convert.quantization.float_fallback import matching_layers
from convert.quantization.io_tensors import choose_io
from convert.statistics.metrics import MAXIMUM_SQNR_DB
from convert.system.progress import Progress, Silent
from convert.tflite.metadata import stretched_by_others
from edge_runtime.labels import count_advice

FEW_TO_CALIBRATE = 20
"""With fewer images the ranges of activations, and the weights fitted to them, are those of these images."""


@contextmanager
def stopwatch(timings: dict[str, float], name: str) -> Iterator[None]:
    """Put the seconds of a block into `timings`."""
    start = time.perf_counter()
    yield
    timings[name] = round(time.perf_counter() - start, 3)


@dataclass(frozen=True)
class Prepared:
    """What all schemes of a job share.

    Attributes:
        float_layers: tensors whose operators `--keep-float` keeps in float.
        request, calibration: None if no scheme calibrates.
        reference: predictions of the float network; None if drift is not measured.
        scratch: a temporary folder.
        stages: what runs slow stages, and knows whose results came from the cache.
        io: scheme name -> data type of the artifact's input and output.
        warnings: why the figures may not be what they seem to be: how images are prepared or named, or how few.
    """

    job: Job
    inputs: Inputs
    network: FloatModel
    float_layers: tuple[str, ...]
    request: CalibrationRequest | None
    calibration: Calibration | None
    reference: Predictions | None
    timings_s: dict[str, float]
    scratch: Path
    stages: StageCache
    io: dict[str, str]
    warnings: list[str]


def prepare(job: Job, inputs: Inputs, scratch: Path, progress: Progress) -> Prepared:
    """Lower, calibrate and run the float network, or recall what these stages gave before."""
    stages = StageCache(open_cache(progress.note) if job.use_cache else None, progress)
    timings: dict[str, float] = {}
    with stopwatch(timings, "lowering"):
        inputs, network, chosen = _lower_as_said_or_chosen(job, inputs, scratch, stages)
    name = job.source.name
    io = _choose_io(job, inputs, network, progress)
    float_layers = () if job.keep_float is None else matching_layers(network.model, job.keep_float)
    images = inputs.validation or inputs.calibration
    doubts: list[str] = []
    if images is not None and not job.source.is_ours:
        doubts += filter(None, [stages.run(preprocessing_check(name, network, images[:MOST]))])
    request = calibration = reference = None
    with stopwatch(timings, "calibration"):
        if inputs.calibration is not None:
            options = CalibrationOptions(job.calibrator, until_enough=job.calibration_size is None)
            request = CalibrationRequest(inputs.calibration, inputs.held_out, options, job.scheduler)
            calibration = stages.run(calibrating(name, network, request))
    with stopwatch(timings, "reference"):
        if inputs.validation is not None:
            reference = stages.run(float_predictions(name, network, inputs.validation, scratch))
            doubts += [] if doubts else guess_warnings(reference, inputs.validation)
    if request is not None and len(request.images) < FEW_TO_CALIBRATE:
        doubts.append(
            f"images to calibrate on: {len(request.images)}; pass about 100 with --calibration, like those that the "
            "network will see"
        )
    warnings = doubts if chosen is None else [chosen.words, *doubts]
    for warning in warnings:
        progress.note(f"warning: {warning}")
    return Prepared(
        job, inputs, network, float_layers, request, calibration, reference, timings, scratch, stages, io, warnings
    )


def _lower_as_said_or_chosen(
    job: Job, inputs: Inputs, scratch: Path, stages: StageCache
) -> tuple[Inputs, FloatModel, ChosenPreprocessing | None]:
    """Lower a network; if nobody says how its images are prepared, let labelled ones choose a convention."""
    try:
        return inputs, _lower(job, inputs, scratch, stages), None
    except PreprocessingUnknownError:
        images = choosing_images(inputs)
        if images is None:
            raise
        silent = StageCache(stages.cache, Silent())
        network = _lower(job, replace(inputs, preprocessing=TRIED_FIRST), scratch, silent)
        stages.progress.stage("choosing the preprocessing")
        chosen = stages.run(preprocessing_choice(job.source.name, network, images[:MOST]))
        if chosen is None:
            raise
    inputs = replace(inputs, preprocessing=chosen.name)
    return inputs, _lower(job, inputs, scratch, stages), chosen


def _choose_io(job: Job, inputs: Inputs, network: FloatModel, progress: Progress) -> dict[str, str]:
    """Return the data type of each artifact's ends: the scheme's own where that is exact, unless one was asked for."""
    chosen = {}
    for scheme, wanted in inputs.io.items():
        chosen[scheme], reason = choose_io(network.model, wanted, job.io is not None, network.spec)
        if reason:
            progress.note(f"{scheme}: the input is {chosen[scheme]}, because {reason}")
    return chosen


def lowering_request(job: Job, inputs: Inputs, scratch: Path) -> LoweringRequest:
    """Return what to lower, and a few images to compare the result with Keras on, the same for every scheme."""
    images = find_images(job.validation or job.calibration or calibration_data.VALIDATION)
    return LoweringRequest(labelled_source(job, inputs), inputs.preprocessing, images_to_compare(images), scratch)


def _lower(job: Job, inputs: Inputs, scratch: Path, stages: StageCache) -> FloatModel:
    lowered = stages.run(lowering(lowering_request(job, inputs, scratch)))
    lowered = replace(lowered, spec=fitted(lowered.spec, job.fit))  # of any shape, the float network stays the same
    slow = (f"{layer}: through TFLiteConverter" for layer in lowered.slow_layers)
    for note in filter(None, (lowered.recognized, *lowered.front, *slow, stretched_by_others(lowered.spec))):
        stages.progress.note(note)
    stages.progress.note(agreement(job.source, lowered.keras_sqnr_db))
    labels = inputs.labels or lowered.labels or tuple(str(i) for i in range(lowered.classes))
    if len(labels) != lowered.classes:
        raise SourceError(wrong_labels(job, len(labels), lowered.classes, lowered.labels))
    if inputs.validation is not None:
        inputs.validation.truth(labels, lowered.runtime_head)
        for note in folder_notes(inputs.validation, labels, given=inputs.labels is not None or bool(lowered.labels)):
            stages.progress.note(note)
    spec, said = lowered.spec, inputs.preprocessing
    given = None if said is None else fitted(input_spec(said, spec.height, spec.width, spec.channels), job.fit)
    return FloatModel(lowered, labels, given)


def agreement(source: ModelSource, sqnr_db: float) -> str:
    """Word how near the float TFLite model is to what it was made from, which is Keras unless it is a graph."""
    if source.origin not in (SAVED_MODEL, TFLITE):
        return f"float TFLite agrees with Keras to {sqnr_db:.0f} dB"
    name = Path(source.model).name
    if sqnr_db >= MAXIMUM_SQNR_DB:
        return f"float TFLite equals {name}"
    return f"float TFLite agrees with {name} to {sqnr_db:.0f} dB"


def wrong_labels(job: Job, count: int, classes: int, known: Sequence[str] | None = None) -> str:
    """Word that there are more or fewer labels than classes; `known` are those of the network itself."""
    is_demo = job.source.is_ours and job.source.model == DEMO
    network = "the bundled demo, since there is no --model," if is_demo else "the network"
    message = f"--labels {job.labels} has {count} labels, {network} has {classes} classes"
    if known and known[0] == BACKGROUND and count == classes - 1:
        return f"{message}: its class 0 is the {BACKGROUND}; put a line {BACKGROUND!r} before the others"
    return f"{message}: {count_advice(count, classes)}"
