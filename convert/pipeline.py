"""The whole journey, from a Keras network and two image folders to judged artifacts. Read this first.

source --lower--> float .tflite --measure--> statistics --quantize--> model --package--> artifact
                        |                                                                    |
                        +----------- reference answers ----- compare, judge ---- answers ----+
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import calibration_data
from convert import building, packaging
from convert.audit.runtimes import refuse_newer
from convert.building import FloatModel, Recipe
from convert.errors import ConvertError, SourceError
from convert.gate import drift
from convert.gate.counts import Comparison
from convert.gate.drift import Answers
from convert.image_sets import ImageSet, find_images, note_skipped
from convert.job import Inputs, Job, check
from convert.network.lowering import LoweringRequest, lower
from convert.plausibility import refuse_wrong_preprocessing
from convert.preprocessing import input_spec
from convert.progress import Progress
from convert.quantization import layers
from convert.quantization.ends import check_ends
from convert.quantization.fitting import FitRequest, Fitted, fit
from convert.quantization.quantize import QuantizedModel, head_begins
from convert.quantization.recovery import Fallback, search, segments
from convert.quantization.schemes import SCHEMES, Scheme
from convert.quantization.trial import Score
from convert.reporting import page, report
from convert.reporting.report import Outcome, Step
from convert.tflite_graph import TfliteGraph
from edge_runtime import Classifier
from edge_runtime.benchmark import measure as measure_speed

COMPARED_WITH_KERAS = 8
TIMED_WARMUP, TIMED_RUNS = 2, 15
SUFFIX, FAILED_SUFFIX = ".tflite", ".failed.tflite"


@dataclass(frozen=True)
class Prepared:
    """All that the schemes of one run share: the float network, what was fitted to it, and its own answers."""

    job: Job
    inputs: Inputs
    network: FloatModel
    fitted: Fitted | None
    reference: Answers | None
    timings_s: dict[str, float]
    scratch: Path


def convert(job: Job, progress: Progress) -> list[Outcome]:
    """Convert a network with every scheme of the job, and judge the results.

    Raises:
        EdgeError: a class of it; no artifact of an earlier run is lost, none is half-written.
    """
    inputs = check(job)
    with _scratch_folder(job.output_dir) as scratch:
        prepared = _prepare(job, inputs, scratch, progress)
        outcomes = []
        for scheme in job.schemes:
            progress.stage(f"quantizing: {scheme.name}")
            kept = job.keep_float if scheme.keeps_layers else None
            float_layers = () if kept is None else building.matching_layers(prepared.network.model, kept)
            outcome = _convert(prepared, Recipe(scheme, inputs.io[scheme.name], float_layers), progress)
            recovered = _recover(prepared, outcome, progress) if job.recover else []
            outcomes += [replace(outcome, superseded=bool(recovered)), *recovered]
        _write_pages(job, outcomes)
        return outcomes


def _prepare(job: Job, inputs: Inputs, scratch: Path, progress: Progress) -> Prepared:
    timings: dict[str, float] = {}
    with _timed(timings, "lowering"):
        network = _lower(job, inputs, scratch, progress)
    for io in sorted(set(inputs.io.values())):
        check_ends(network.model, io, network.spec)
    if job.keep_float is not None:
        building.matching_layers(network.model, job.keep_float)
    if not job.source.is_ours:
        labelled = inputs.validation or inputs.calibration
        refuse_wrong_preprocessing(network.model, network.spec, network.labels, labelled)
    with _timed(timings, "calibration"):
        fitted = _fit(job, inputs, network, progress)
    with _timed(timings, "reference"):
        reference = _reference_answers(network, inputs.validation, progress)
    return Prepared(job, inputs, network, fitted, reference, timings, scratch)


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


def _fit(job: Job, inputs: Inputs, network: FloatModel, progress: Progress) -> Fitted | None:
    if inputs.calibration is None:
        return None
    request = FitRequest(job.calibrator, until_enough=job.calibration_size is None)
    return fit(network.model, network.spec, inputs.calibration, inputs.held_out, request, progress)


def _reference_answers(network: FloatModel, images: ImageSet | None, progress: Progress) -> Answers | None:
    if images is None:
        return None
    with Classifier.open(
        network.lowered.path, engine="litert", delegate="cpu", spec=network.spec, labels=network.labels
    ) as classifier:
        answers = drift.answer(classifier, images, lambda done: progress.count("float reference", done, len(images)))
    note_skipped(progress.note, answers.skipped, images)
    return answers


def _convert(prepared: Prepared, recipe: Recipe, progress: Progress) -> Outcome:
    """Quantize, measure, judge and write one artifact."""
    spent = dict(prepared.timings_s)
    network, fitted = prepared.network, prepared.fitted
    with _timed(spent, "quantization"):
        quantized = building.apply(network, recipe, fitted)
        if prepared.job.target_runtime is not None:
            refuse_newer(quantized.model, prepared.job.target_runtime)
        quantized = building.correct(quantized, network, recipe, fitted)
        built = building.describe(prepared.job.source.name, quantized, network, recipe, fitted)
    with _timed(spent, "layers"):
        per_layer = _compare_layers(quantized, recipe, fitted, network)
    with _timed(spent, "drift"):
        compared = _compare(prepared, recipe, built, progress)
    measured = gate = None
    if compared is not None:
        measured = drift.compare(compared.reference, compared.candidate, compared.true_classes)
        gate = drift.judge(measured, prepared.job.limits)
    failed = gate is not None and gate.verdict == drift.FAIL
    scheme = recipe.scheme
    path = prepared.job.output_dir / f"{built.card.name}.{scheme.name}{FAILED_SUFFIX if failed else SUFFIX}"
    summary = None if measured is None or gate is None else {**measured.summary(), "verdict": gate.verdict}
    sha256 = packaging.write(built.with_drift(summary), path)
    outcome = Outcome(
        scheme,
        path,
        path.stat().st_size,
        sha256,
        measured,
        gate,
        spent,
        calibration=fitted.to_json() if fitted is not None and scheme.calibrates else None,
        layers=[layer.to_json() for layer in per_layer],
        float_layers=tuple(map(layers.layer_name, recipe.float_layers)),
        keras_sqnr_db=network.lowered.keras_sqnr_db,
        latency_ms=_latency_ms(scheme, path),
        compared=compared,
    )
    report.write_json(report.to_json(outcome), path)
    return outcome


def _compare_layers(
    quantized: QuantizedModel, recipe: Recipe, fitted: Fitted | None, network: FloatModel
) -> list[layers.Layer]:
    """Layer by layer, for schemes with integer activations whose kernels are fast enough."""
    if fitted is None or not recipe.scheme.calibrates or recipe.scheme.validation_limit is not None:
        return []
    return layers.compare_layers(fitted.equalized, quantized, network.spec, fitted.pixels)


def _recover(prepared: Prepared, outcome: Outcome, progress: Progress) -> list[Outcome]:
    """Where int8 did not pass: the artifact with the fewest layers in float that does, or the best there is."""
    if outcome.scheme.name != "int8" or outcome.gate is None or outcome.gate.verdict == drift.PASS:
        return []
    progress.note(f"int8: {outcome.gate.verdict}; looking for the layers that cost most")
    io = prepared.inputs.io["int8"]
    all_int8, *fallbacks = _fallbacks(prepared, io, progress)
    steps = [_step(all_int8, outcome)]
    recovered = outcome
    for fallback in fallbacks:
        recovered = _convert(prepared, Recipe(SCHEMES["mixed"], io, fallback.outputs), progress)
        steps.append(_step(fallback, recovered))
        gained = fallback.score.sqnr_db - all_int8.score.sqnr_db
        progress.note(f"{fallback.layers} layers in float: {gained:+.1f} dB, {steps[-1].verdict}")
        if steps[-1].verdict == drift.PASS:
            break
    if recovered is outcome:
        progress.note("no run of layers in float does better than int8")
        return []
    recovered = replace(recovered, recovery=steps)
    report.write_json(report.to_json(recovered), recovered.path)
    return [recovered]


def _fallbacks(prepared: Prepared, io: str, progress: Progress) -> list[Fallback]:
    """No layer in float, and what the search found, fewest layers first."""
    fitted = prepared.fitted
    assert fitted is not None
    assert fitted.trial is not None
    trial, graph = fitted.trial, TfliteGraph(fitted.rounded)

    def evaluate(float_layers: Sequence[str]) -> Score:
        return trial.score(building.apply(prepared.network, Recipe(SCHEMES["mixed"], io, tuple(float_layers)), fitted))

    def count(done: int, total: int) -> None:
        progress.count("trying layers in float", done, total)

    none = Fallback((), 0, evaluate(()))
    found = search(segments(graph, head_begins(graph)), evaluate, count)
    return [none, *(fallback for fallback in found if fallback.score.sqnr_db > none.score.sqnr_db)]


def _step(fallback: Fallback, outcome: Outcome) -> Step:
    assert outcome.drift is not None
    assert outcome.gate is not None
    return Step(
        fallback.layers,
        outcome.bytes,
        round(fallback.score.milliseconds, 2),
        round(fallback.score.sqnr_db, 2),
        outcome.drift.agreement_top1,
        outcome.gate.verdict,
    )


def _compare(prepared: Prepared, recipe: Recipe, built: packaging.Package, progress: Progress) -> Comparison | None:
    """Answers of the artifact as it will be shipped, opened as a device opens it, beside the reference's."""
    images, reference, scheme = prepared.inputs.validation, prepared.reference, recipe.scheme
    if images is None or reference is None:
        return None
    few = images.first(scheme.validation_limit)
    if len(few) < len(images):
        progress.note(f"{scheme.name} runs on reference kernels: drift is measured on {len(few)} images only")
    path = prepared.scratch / f"{scheme.name}{SUFFIX}"
    packaging.write(built, path)
    with Classifier.open(path, engine="litert", delegate="cpu") as classifier:
        name = f"drift of {scheme.name}"
        candidate = drift.answer(classifier, few, lambda done: progress.count(name, done, len(few)))
    path.unlink()
    wanted = reference.first(len(candidate.paths))
    return Comparison(wanted, candidate, drift.truth(images, wanted))


def _latency_ms(scheme: Scheme, path: Path) -> float | None:
    """Median time of an image on this machine's CPU; None where reference kernels would take minutes."""
    if scheme.validation_limit is not None:
        return None
    speed, _, _ = measure_speed(str(path), "litert", os.cpu_count() or 1, TIMED_WARMUP, TIMED_RUNS)
    return round(speed.p50_ms, 3)


def _write_pages(job: Job, outcomes: Sequence[Outcome]) -> None:
    """A page beside each artifact; each has the figures of the other schemes, too."""
    reports = [report.to_json(outcome) for outcome in outcomes]
    for value, outcome in zip(reports, outcomes, strict=True):
        others = [other for other in reports if other is not value]
        page.write(page.render(value, outcome.compared, others, job.thumbnails), page.beside(outcome.path))
