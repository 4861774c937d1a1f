"""What is to be converted and how, checked before anything slow starts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import calibration_data
from convert.audit.runtimes import check_target
from convert.errors import ImageSetError, QuantizationError, SourceError
from convert.images.conventions import CONVENTIONS
from convert.images.dataset import ImageSet, Snapshot, find_images, refuse_overlap
from convert.keras_models.sources import DEMO, ModelSource
from convert.quantization import calibrators, convergence
from convert.quantization.schemes import Scheme, check_io
from convert.statistics.verdict import Limits


@dataclass(frozen=True)
class Job:
    """What to convert, and how.

    Attributes:
        source: the network.
        schemes: each becomes an artifact.
        preprocessing: convention or file; None where the source knows it.
        labels: text file with one label a line; None for the source's own.
        calibration, validation: image folders; None for the bundled ones, which serve the demo only.
        calibration_size, validation_size: most images to use of each; None to calibrate until ranges have converged.
        calibrator: whose ranges activations get, see `convert.quantization.calibrators`.
        keep_float: regular expression for the layers that scheme mixed leaves in float.
        target_runtime: what every artifact must run on, see `convert.audit.runtimes`; None for whatever it needs.
        recover: whether to look for layers to leave in float when int8 does not pass.
        io: dtype of the ends; None for the scheme's own.
        output_dir: where artifacts and reports go.
        limits: of the drift check.
        validate: whether drift is measured.
        thumbnails: whether reports show pictures, and where they are.
        use_cache: whether results of earlier conversions are used, and these kept.
    """

    source: ModelSource
    schemes: tuple[Scheme, ...]
    preprocessing: str | None = None
    labels: Path | None = None
    calibration: Path | None = None
    calibration_size: int | None = 100
    calibrator: str = calibrators.DEFAULT
    keep_float: str | None = None
    target_runtime: str | None = None
    recover: bool = False
    validation: Path | None = None
    validation_size: int = 1000
    io: str | None = None
    output_dir: Path = Path("build")
    limits: Limits = field(default_factory=Limits)
    validate: bool = True
    thumbnails: bool = True
    use_cache: bool = True


HELD_OUT = 0.2
"""Part of the calibration images that alternatives are judged on, and that nothing is fitted to."""
MOST_HELD_OUT = 50
FEWEST_TO_CHOOSE = 10
"""With fewer calibration images than these, choosing between alternatives would be guessing."""


@dataclass(frozen=True)
class Inputs:
    """The checked inputs of a job: image sets already shuffled and cut to size.

    `held_out` are calibration images to judge alternatives on; None where there are none to judge. `files` is what
    all images were like when they were chosen.
    """

    calibration: ImageSet | None
    held_out: ImageSet | None
    validation: ImageSet | None
    preprocessing: str
    labels: tuple[str, ...] | None
    io: dict[str, str]
    files: Snapshot


def check(job: Job) -> Inputs:
    """Refuse what cannot work before anything slow starts.

    Raises:
        ConvertError: a class of it that names the offending value.
    """
    job.source.check()
    if job.preprocessing is None and not job.source.is_ours:
        raise SourceError(
            f"{job.source.file} does not say how its images were prepared: pass --preprocessing "
            f"{'|'.join(CONVENTIONS)} or a JSON file"
        )
    if job.preprocessing is not None and job.preprocessing not in CONVENTIONS and not Path(job.preprocessing).is_file():
        raise SourceError(
            f"--preprocessing {job.preprocessing} is neither {', '.join(CONVENTIONS)} nor a JSON file that exists"
        )
    _check_layers(job)
    if job.target_runtime is not None:
        check_target(job.target_runtime)
    calibration = _calibration_images(job) if any(scheme.calibrates for scheme in job.schemes) else None
    validation = _validation_images(job) if job.validate else None
    if calibration and validation:
        refuse_overlap(calibration, validation)
    labels = None if job.labels is None else read_labels(job.labels)
    if labels is not None and validation is not None:
        validation.class_indices(labels)
    fitted, held_out = _parted(job, calibration)
    judged = validation and validation.sample(job.validation_size)
    return Inputs(
        fitted,
        held_out,
        judged,
        job.preprocessing or "tf",
        labels,
        {scheme.name: check_io(scheme, job.io) for scheme in job.schemes},
        Snapshot.of(fitted, held_out, judged),
    )


def _check_layers(job: Job) -> None:
    mixed = any(scheme.keeps_layers for scheme in job.schemes)
    if mixed and job.keep_float is None:
        raise QuantizationError("scheme mixed needs --keep-float REGEX: the layers that stay in float")
    if job.recover and not (job.validate and any(scheme.name == "int8" for scheme in job.schemes)):
        raise QuantizationError(
            "--recover needs --quantize int8 and a drift check: it looks for what gets int8 through"
        )
    if job.recover and mixed:
        raise QuantizationError("--recover makes the mixed artifact itself: leave mixed out of --quantize")
    if job.keep_float is None:
        return
    if not mixed:
        raise QuantizationError(
            f"--keep-float {job.keep_float!r} goes with --quantize mixed: no other scheme keeps layers"
        )
    try:
        re.compile(job.keep_float)
    except re.error as error:
        raise QuantizationError(f"--keep-float {job.keep_float!r} is no regular expression: {error}") from error


def read_labels(path: Path) -> tuple[str, ...]:
    """The lines of a label file.

    Raises:
        SourceError: it cannot be read, is empty, or two labels are the same.
    """
    try:
        labels = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"--labels {path} cannot be read as UTF-8 text: {error}") from error
    if not labels:
        raise SourceError(f"--labels {path} is empty: write one label a line")
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise SourceError(f"--labels {path} has {twice!r} twice: labels tell classes apart")
    return labels


def _parted(job: Job, images: ImageSet | None) -> tuple[ImageSet | None, ImageSet | None]:
    """The calibration images to fit to, and those held out."""
    if images is None:
        return None, None
    chosen = images.sample(job.calibration_size or convergence.MOST)
    if not job.recover and job.calibrator != calibrators.AUTO:
        return chosen, None
    if len(chosen) < FEWEST_TO_CHOOSE:
        option = "--recover" if job.recover else "--calibrator auto"
        raise ImageSetError(
            f"{len(chosen)} calibration images of {images.root} are too few for {option}, which holds some out: "
            f"give at least {FEWEST_TO_CHOOSE}"
        )
    count = min(int(len(chosen) * HELD_OUT), MOST_HELD_OUT)
    return chosen.first(len(chosen) - count), chosen.last(count)


def _calibration_images(job: Job) -> ImageSet:
    if job.calibration is not None:
        return find_images(job.calibration)
    if job.source.file is None and job.source.model == DEMO:
        return find_images(calibration_data.CALIBRATION)
    schemes = ", ".join(scheme.name for scheme in job.schemes if scheme.calibrates)
    raise ImageSetError(
        f"scheme {schemes} needs images like those {job.source.name} will see, the bundled ones serve the demo only: "
        "pass --calibration DIR"
    )


def _validation_images(job: Job) -> ImageSet:
    if job.validation is not None:
        return find_images(job.validation)
    if job.source.file is None and job.source.model == DEMO:
        return find_images(calibration_data.VALIDATION)
    raise ImageSetError(
        f"the drift of {job.source.name} is measured on images like those it will see: "
        "pass --validation DIR, or --no-validate"
    )
