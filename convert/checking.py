"""Checks a job, and finds its inputs, before anything slow starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import calibration_data
from convert.audit.runtimes import check_target
from convert.errors import ImageSetError, QuantizationError
from convert.images.bit_depth import dark_notes
from convert.images.conventions import (
    check_fit,
    check_preprocessing,
    unknown_preprocessing,
)
from convert.images.dataset import ImageSet, Snapshot, find_images, refuse_overlap
from convert.images.elimination import FEWEST
from convert.images.image_labels import read_image_labels
from convert.images.labels import Labels, notes_on, read_labels, with_label_names
from convert.job import MOST_VALIDATED, Inputs, Job, Sources
from convert.keras_models.sources import DEMO, ModelSource
from convert.quantization import calibrators, convergence
from convert.quantization.schemes import check_io
from convert.system import cluster
from edge_runtime.specs import INDEPENDENT

HELD_OUT, MOST_HELD_OUT = 0.2, 50
"""Fraction of the calibration images that is held out to judge alternatives by, and their largest number."""
FEWEST_TO_CHOOSE = 10
"""With fewer calibration images, choosing between alternatives would be guessing."""


def check(job: Job) -> Inputs:
    """Return the inputs of a job; an option that cannot work is a `ConvertError` before anything slow starts."""
    job.source.check()
    if job.preprocessing is not None:
        check_preprocessing(job.preprocessing)
    if job.fit is not None:
        check_fit(job.fit)
    _check_layers(job)
    if job.image_labels is not None and not job.validate:
        raise ImageSetError(f"--image-labels {job.image_labels} is for the drift check: leave out --no-validate")
    if job.target_runtime is not None:
        check_target(job.target_runtime)
    calibration, validation = _image_sets(job)
    if calibration and validation:
        refuse_overlap(calibration, validation)
    labels = None if job.labels is None else read_labels(job.labels)
    if labels is not None:
        calibration, validation = (images and with_label_names(images, labels) for images in (calibration, validation))
        if validation is not None:
            validation.truth(labels.names, INDEPENDENT)
    if job.scheduler is not None and calibration is not None:
        cluster.check(job.scheduler)
    seen, held_out = _held_out(job, calibration)
    unseen = validation and validation.shuffled()[: job.validation_size or MOST_VALIDATED]
    inputs = Inputs(
        seen,
        held_out,
        unseen,
        job.preprocessing or ("tf" if job.source.is_ours else None),
        None if labels is None else labels.names,
        {scheme.name: check_io(scheme, job.io) for scheme in job.schemes},
        Snapshot(seen, held_out, unseen),
        tuple(_notes(job, labels, calibration, validation)),
        available=len(calibration) if calibration else 0,
    )
    if inputs.preprocessing is None and job.source.weights is not None and choosing_images(inputs) is None:
        raise unknown_preprocessing(job.source.weights)
    return inputs


def choosing_images(inputs: Inputs) -> ImageSet | None:
    """Return the labelled images that can choose a preprocessing which nobody says; None if there are too few."""
    images = inputs.validation or inputs.calibration
    return images if images is not None and images.are_labelled and len(images) >= FEWEST else None


def _notes(job: Job, labels: Labels | None, calibration: ImageSet | None, validation: ImageSet | None) -> Iterator[str]:
    """Say what a label file was taken for, and what of the folders is not looked at."""
    if labels is not None and job.labels is not None:
        yield from notes_on(labels, job.labels.name)
    for images in (calibration, validation):
        yield from () if images is None else (*images.notes, *dark_notes(images))
    if calibration is not None and validation is not None and calibration.folders and not validation.are_labelled:
        yield (
            f"accuracy is not measured: the images of {calibration.root} are in class folders, those of "
            f"{validation.root} are not; are --calibration and --validation swapped?"
        )
    if calibration is not None and job.calibration_size is not None and len(calibration) > job.calibration_size:
        yield (
            f"calibration uses {job.calibration_size} of the {len(calibration)} images of {calibration.root}: "
            f"--calibration-size {len(calibration)} uses all"
        )


def labelled_source(job: Job, inputs: Inputs) -> ModelSource:
    """Return the network's source with the number of labels, which tells a logit of two classes from a regression."""
    return job.source if inputs.labels is None else replace(job.source, labels=len(inputs.labels))


def _check_layers(job: Job) -> None:
    mixed = any(scheme.keeps_layers for scheme in job.schemes)
    if mixed and job.keep_float is None:
        raise QuantizationError("scheme mixed needs --keep-float REGEX: the layers that stay in float")
    if job.recover and not (job.validate and any(scheme.fallback for scheme in job.schemes)):
        raise QuantizationError(
            "--recover needs --quantize int8 and a drift check: it looks for what gets int8 through"
        )
    if job.recover and mixed:
        raise QuantizationError("--recover makes the mixed artifact itself: leave mixed out of --quantize")
    if job.keep_float is None:
        return
    if not mixed:
        raise QuantizationError(
            f"--keep-float {job.keep_float!r} goes with --quantize mixed: no other scheme keeps layers in float"
        )
    try:
        re.compile(job.keep_float)
    except re.error as error:
        raise QuantizationError(f"--keep-float {job.keep_float!r} is not a regular expression: {error}") from error


def _image_sets(job: Job) -> tuple[ImageSet | None, ImageSet | None]:
    """Return all calibration and all validation images; None for those that are not needed."""
    calibration, validation = image_folders(job.source, job)
    schemes = ", ".join(scheme.name for scheme in job.schemes if scheme.calibrates)
    if schemes and calibration is None:
        more = ", and other images as --validation DIR, or --no-validate" if job.validate and validation is None else ""
        raise ImageSetError(
            f"scheme {schemes} needs images like those {job.source.name} will see, the bundled ones serve the demo "
            f"only: pass --calibration DIR{more}"
        )
    seen = find_images(calibration) if schemes and calibration else None
    if job.validate and validation is None:
        raise ImageSetError(
            f"the drift of {job.source.name} is measured on images like those it will see: "
            "pass --validation DIR, or --no-validate"
        )
    return seen, _labelled(find_images(validation), job) if job.validate and validation else None


def _labelled(validation: ImageSet, job: Job) -> ImageSet:
    """Return the validation images with what the file says of their labels, if there is one."""
    return (
        validation
        if job.image_labels is None
        else replace(validation, image_labels=read_image_labels(job.image_labels))
    )


def _held_out(job: Job, images: ImageSet | None) -> tuple[ImageSet | None, ImageSet | None]:
    """Part the calibration images into those to calibrate on and those held out, to judge alternatives by."""
    chosen = images and images.shuffled()[: job.calibration_size or convergence.MOST]
    if chosen is None or not (job.recover or job.calibrator == calibrators.AUTO):
        return chosen, None
    if len(chosen) < FEWEST_TO_CHOOSE:
        reason = "--recover" if job.recover else "--calibrator auto"
        raise ImageSetError(
            f"{len(chosen)} calibration images of {chosen.root} are too few for {reason}, which holds some out: "
            f"give at least {FEWEST_TO_CHOOSE}"
        )
    seen = len(chosen) - min(int(len(chosen) * HELD_OUT), MOST_HELD_OUT)
    return chosen[:seen], chosen[seen:]


def image_folders(source: ModelSource | None, given: Sources) -> tuple[Path | None, Path | None]:
    """Return the calibration and the validation folder: those given, else the bundled ones for the demo, else None."""
    is_demo = source is not None and source.file is None and source.model == DEMO
    bundled = (calibration_data.CALIBRATION, calibration_data.VALIDATION) if is_demo else (None, None)
    return given.calibration or bundled[0], given.validation or bundled[1]
