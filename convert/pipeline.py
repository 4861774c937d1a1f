"""The whole journey, from a Keras network and two image folders to judged artifacts. Read this first.

source --lower--> float .tflite --measure--> statistics --quantize--> model --package--> artifact
                        |                                                                    |
                        +----------- reference answers ----- compare, judge ---- answers ----+
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import calibration_data
from convert import drift, packaging, report
from convert.calibration import Statistics, measure
from convert.correction import correct_head
from convert.drift import Answers, Drift
from convert.equalization import equalize
from convert.errors import ConvertError, SourceError
from convert.image_sets import ImageSet, PixelReader, find_images, manifest_sha256, note_skipped
from convert.job import Inputs, Job, check
from convert.lowering import LoweredModel, LoweringRequest, lower
from convert.preprocessing import input_spec
from convert.quantize import check_ends, quantize, tensor_ends
from convert.report import Outcome
from convert.rounding import round_weights
from convert.schemes import Scheme
from convert.tflite_graph import TfliteGraph
from edge_runtime import Card, Classifier, InputSpec
from edge_runtime.classifier import answer_probe
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.preprocess import Pixels
from edge_runtime.probe import Probe

COMPARED_WITH_KERAS = 8
VERSIONED = ("irv2-edge", "ai-edge-quantizer", "ai-edge-litert", "numpy", "pillow")
SUFFIX, FAILED_SUFFIX = ".tflite", ".failed.tflite"


class Progress(Protocol):
    """Told what happens."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def count(self, name: str, done: int, total: int) -> None:
        """`done` of `total` images of the stage `name` are done."""

    def note(self, text: str) -> None:
        """Something worth knowing."""


@dataclass(frozen=True)
class FloatModel:
    """A lowered network, how its images are prepared, and what its classes are called."""

    lowered: LoweredModel
    model: bytes
    spec: InputSpec
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Calibration:
    """What calibration images tell of a float network.

    Attributes:
        rounded: the float network with its channels evened out and its weights on int8 steps.
        statistics: of its activations.
        pixels: of the images, which correcting the head looks at again.
        manifest_sha256: of the images.
    """

    rounded: bytes
    statistics: Statistics
    pixels: list[Pixels]
    manifest_sha256: str

    def summary(self) -> dict[str, Any]:
        """What goes into a card."""
        return {"manifest_sha256": self.manifest_sha256, "images": self.statistics.images}


def convert(job: Job, progress: Progress) -> list[Outcome]:
    """Convert a network with every scheme of the job, and judge the results.

    Raises:
        EdgeError: a class of it; no artifact of an earlier run is lost, none is half-written.
    """
    inputs = check(job)
    timings: dict[str, float] = {}
    with _scratch_folder(job.output_dir) as scratch:
        with _timed(timings, "lowering"):
            network = _lower(job, inputs, scratch, progress)
        for io in sorted(set(inputs.io.values())):
            check_ends(network.model, io, network.spec)
        with _timed(timings, "calibration"):
            calibration = _calibrate(network, inputs.calibration, progress)
        with _timed(timings, "reference"):
            reference = _reference_answers(network, inputs.validation, progress)
        outcomes = []
        for scheme in job.schemes:
            spent = dict(timings)
            progress.stage(f"quantizing: {scheme.name}")
            with _timed(spent, "quantization"):
                built = _build(job, inputs, network, scheme, calibration)
            with _timed(spent, "drift"):
                measured = _measure_drift(built, scheme, inputs.validation, reference, scratch, progress)
            outcomes.append(_write(job, scheme, built, measured, spent))
        return outcomes


@contextmanager
def _scratch_folder(output_dir: Path) -> Iterator[Path]:
    """A folder beside the results, gone when the work is done or has failed."""
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=output_dir, prefix=".irv2-"))
    except OSError as error:
        raise ConvertError(f"--output-dir {output_dir} cannot be written to: {error.strerror or error}") from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
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


def _calibrate(network: FloatModel, images: ImageSet | None, progress: Progress) -> Calibration | None:
    if images is None:
        return None
    reader = PixelReader(network.spec)
    kept: list[Pixels] = []

    def pixels() -> Iterator[Pixels]:
        for index, picture in reader.read(images):
            kept.append(picture)
            yield picture
            progress.count("calibrating", index + 1, len(images))

    statistics = measure(network.model, pixels(), network.spec)
    note_skipped(progress.note, reader.skipped, images)

    def count(done: int, total: int) -> None:
        progress.count("rounding weights", done, total)

    equalized, statistics = equalize(network.model, statistics)
    rounded = round_weights(equalized, kept, network.spec, count)
    return Calibration(rounded, statistics, kept, manifest_sha256(images))


def _reference_answers(network: FloatModel, images: ImageSet | None, progress: Progress) -> Answers | None:
    if images is None:
        return None
    with Classifier.open(
        network.lowered.path, engine="litert", delegate="cpu", spec=network.spec, labels=network.labels
    ) as classifier:
        answers = drift.answer(classifier, images, lambda done: progress.count("float reference", done, len(images)))
    note_skipped(progress.note, answers.skipped, images)
    return answers


def _build(
    job: Job, inputs: Inputs, network: FloatModel, scheme: Scheme, calibration: Calibration | None
) -> packaging.Package:
    """Quantize, correct the head, and package, as yet without a drift summary."""
    used = calibration if scheme.calibrates else None
    model, statistics = (network.model, None) if used is None else (used.rounded, used.statistics)
    quantized = quantize(model, scheme, inputs.io[scheme.name], network.spec, statistics)
    image, probabilities = tensor_ends(quantized.model, quantized.encoding)
    model = quantized.model
    if used is not None and scheme.validation_limit is None:
        model = correct_head(model, network.spec, image, used.pixels, used.statistics.logits)
    card = Card(
        name=job.source.name,
        architecture=network.lowered.architecture,
        classes=len(network.labels),
        scheme=scheme.name,
        preprocessing=network.spec,
        input=image,
        output=probabilities,
        sha256={},
        source={"weights_sha256": network.lowered.weights_sha256, "keras_sqnr_db": network.lowered.keras_sqnr_db},
        calibration=None if used is None else used.summary(),
        drift=None,
        versions={**{name: metadata.version(name) for name in VERSIONED}, **network.lowered.versions},
        minimum_runtime=TfliteGraph(model).minimum_runtime(),
        probe=Probe.of(answer_probe(Engine(model, choose_engine("litert"), None), network.spec, image)),
    )
    return packaging.package(model, network.labels, card)


def _measure_drift(
    built: packaging.Package,
    scheme: Scheme,
    images: ImageSet | None,
    reference: Answers | None,
    scratch: Path,
    progress: Progress,
) -> Drift | None:
    """Drift of the artifact as it will be shipped, opened as a device opens it."""
    if images is None or reference is None:
        return None
    few = images.first(scheme.validation_limit)
    if len(few) < len(images):
        progress.note(f"{scheme.name} runs on reference kernels: drift is measured on {len(few)} images only")
    path = scratch / f"{scheme.name}{SUFFIX}"
    packaging.write(built, path)
    with Classifier.open(path, engine="litert", delegate="cpu") as classifier:
        name = f"drift of {scheme.name}"
        candidate = drift.answer(classifier, few, lambda done: progress.count(name, done, len(few)))
    path.unlink()
    wanted = reference.first(len(candidate.paths))
    return drift.compare(wanted, candidate, drift.truth(images, wanted))


def _write(
    job: Job, scheme: Scheme, built: packaging.Package, measured: Drift | None, timings_s: dict[str, float]
) -> Outcome:
    """Judge, and write artifact and report; a failed artifact never takes the name of a passing one."""
    gate = None if measured is None else drift.judge(measured, job.limits)
    failed = gate is not None and gate.verdict == drift.FAIL
    path = job.output_dir / f"{job.source.name}.{scheme.name}{FAILED_SUFFIX if failed else SUFFIX}"
    summary = None if measured is None or gate is None else {**measured.summary(), "verdict": gate.verdict}
    sha256 = packaging.write(built.with_drift(summary), path)
    outcome = Outcome(scheme, path, path.stat().st_size, sha256, measured, gate, timings_s)
    report.write_json(report.to_json(outcome), path)
    return outcome
