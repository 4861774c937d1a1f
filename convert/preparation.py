"""What all schemes of one run share: the float network, what was fitted to it, and its own answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import calibration_data
from convert import building
from convert.cache import stages
from convert.cache.recall import StageCache
from convert.drift.models import open_model
from convert.drift.predictions import Predictions, predict_all
from convert.errors import SourceError
from convert.images.conventions import input_spec
from convert.images.dataset import ImageSet, find_images, note_skipped
from convert.images.preprocessing_check import IMAGES, refuse_wrong_preprocessing
from convert.job import Inputs, Job
from convert.lowering.float_model import FloatModel
from convert.lowering.lower import LoweredModel, LoweringRequest, lower
from convert.quantization.calibrate import Calibration, CalibrationOptions, calibrate
from convert.quantization.io_tensors import check_io_dtype
from convert.system.progress import Progress

COMPARED_WITH_KERAS = 8


@dataclass(frozen=True)
class Prepared:
    """All that the schemes of one run share: the float network, what was fitted to it, and its own answers.

    `kept` are names of the tensors whose operators `--keep-float` leaves in float, `cached` what came from the cache.
    """

    job: Job
    inputs: Inputs
    network: FloatModel
    kept: tuple[str, ...]
    calibration: Calibration | None
    reference: Predictions | None
    timings_s: dict[str, float]
    scratch: Path
    cached: tuple[str, ...]


def prepare(job: Job, inputs: Inputs, scratch: Path, memory: StageCache) -> Prepared:
    """Lower, check what can be checked now, fit, and ask the float network; or recall what it gave before.

    Args:
        job, inputs: what to convert, as `job.check` found it.
        scratch: an empty folder that outlives what is returned.
        memory: of earlier conversions; its progress is told of each stage.
    """
    timings: dict[str, float] = {}
    with timed(timings, "lowering"):
        network = _lower(job, inputs, scratch, memory)
    for io in sorted(set(inputs.io.values())):
        check_io_dtype(network.model, io, network.spec)
    kept_layers = () if job.keep_float is None else building.matching_layers(network.model, job.keep_float)
    if not job.source.is_ours:
        _refuse_wrong_preprocessing(job, inputs, network, memory)
    with timed(timings, "calibration"):
        calibration = _calibrate(job, inputs, network, memory)
    with timed(timings, "reference"):
        reference = _reference_answers(job, network, inputs.validation, scratch, memory)
    return Prepared(job, inputs, network, kept_layers, calibration, reference, timings, scratch, tuple(memory.recalled))


@contextmanager
def timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Put the seconds of a block into `timings`."""
    start = time.perf_counter()
    yield
    timings[name] = round(time.perf_counter() - start, 3)


def lowering_request(job: Job, inputs: Inputs, scratch: Path) -> LoweringRequest:
    """What to lower, and a few pictures to compare the result with Keras on: the same ones whatever the scheme."""
    pictures = find_images(job.validation or job.calibration or calibration_data.VALIDATION)
    return LoweringRequest(job.source, inputs.preprocessing, _of_different_classes(pictures), scratch / "float.tflite")


def _lower(job: Job, inputs: Inputs, scratch: Path, memory: StageCache) -> FloatModel:
    request = lowering_request(job, inputs, scratch)

    def compute(progress: Progress) -> tuple[LoweredModel, bytes]:
        lowered = lower(request, progress.stage)
        return lowered, lowered.path.read_bytes()

    lowered, model = memory.of(stages.lowering(request, compute))
    memory.progress.note(f"float TFLite agrees with Keras to {lowered.keras_sqnr_db:.0f} dB")
    labels = inputs.labels or lowered.labels or tuple(str(i) for i in range(lowered.classes))
    if len(labels) != lowered.classes:
        raise SourceError(f"--labels {job.labels} has {len(labels)} labels, the network has {lowered.classes} classes")
    if inputs.validation is not None:
        inputs.validation.class_indices(labels)
    spec = input_spec(inputs.preprocessing, lowered.height, lowered.width)
    return FloatModel(lowered, model, spec, labels)


def _of_different_classes(images: ImageSet) -> tuple[Path, ...]:
    """A few pictures, of different classes where there are any: equal ones would show little."""
    folders = images.folders or tuple(map(str, images.paths))
    first_of = {folder: path for path, folder in reversed(list(zip(images.paths, folders, strict=True)))}
    return tuple(first_of.values())[:COMPARED_WITH_KERAS]


def _refuse_wrong_preprocessing(job: Job, inputs: Inputs, network: FloatModel, memory: StageCache) -> None:
    images = inputs.validation or inputs.calibration
    if images is None:
        return
    few = images.first(IMAGES)

    def compute(progress: Progress) -> None:
        refuse_wrong_preprocessing(network.model, network.spec, network.labels, few)

    memory.of(stages.plausibility(job.source.name, network, few, compute))


def _calibrate(job: Job, inputs: Inputs, network: FloatModel, memory: StageCache) -> Calibration | None:
    images, held_out = inputs.calibration, inputs.held_out
    if images is None:
        return None
    request = CalibrationOptions(job.calibrator, until_enough=job.calibration_size is None)

    def compute(progress: Progress) -> Calibration:
        return calibrate(network.model, network.spec, images, held_out, request, progress)

    return memory.of(stages.calibration(job.source.name, network, images, held_out, request, compute))


def _reference_answers(
    job: Job, network: FloatModel, images: ImageSet | None, scratch: Path, memory: StageCache
) -> Predictions | None:
    if images is None:
        return None

    def compute(progress: Progress) -> Predictions:
        path = network.lowered.path
        if not path.exists():  # the network was recalled
            path.write_bytes(network.model)
        with open_model(path, network.spec, network.labels) as reference:
            given = predict_all(reference, images, progress, "float reference")
        note_skipped(progress.note, given.skipped, images)
        return given

    return memory.of(stages.answers(job.source.name, network, images, scratch, compute))
