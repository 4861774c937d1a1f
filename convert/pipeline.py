"""The whole journey, from a Keras network and two image folders to judged artifacts. Read this first.

source --lower--> float .tflite --calibrate--> ranges, weights --quantize, correct--> model --package--> artifact
                        |                                                                                   |
                        +------------ reference predictions ---- compare, judge ---- predictions -----------+

All schemes of a job share the first half, whose stages are cached; each goes through the second half by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import calibration_data
from convert.audit.islands import FloatIsland, float_islands, timed
from convert.audit.promise import audited
from convert.audit.runtimes import refuse_newer
from convert.cache.stages import StageCache, calibrating, float_predictions, lowering, preprocessing_check
from convert.cache.store import open_cache
from convert.drift.figures import Assessment, Drift, assess
from convert.drift.label_notes import guess_notes
from convert.drift.logit_tensors import tensor_logits
from convert.drift.models import open_model
from convert.drift.predictions import Predictions, predict_all
from convert.drift.time_budget import affordable, seconds_per_image, time_note
from convert.errors import ConvertError, SourceError
from convert.images.conventions import fitted, input_spec
from convert.images.dataset import ImageSet, find_images
from convert.images.label_order import folder_notes
from convert.images.preprocessing_check import IMAGES
from convert.job import ASKED, Inputs, Job, check, labelled_source
from convert.keras_models.sources import BACKGROUND, SAVED_MODEL, TFLITE, ModelSource
from convert.lowering.lower import FloatModel, LoweredModel, LoweringRequest, images_to_compare
from convert.quantization import layer_comparison
from convert.quantization.calibrate import Calibration, CalibrationOptions
from convert.quantization.float_fallback import FloatFallback, find_fallbacks, matching_layers
from convert.quantization.io_tensors import choose_io
from convert.quantization.quantize import QuantizedModel, quantize
from convert.quantization.schemes import SCHEMES, Recipe, Scheme
from convert.reporting import html
from convert.reporting.card import card_of
from convert.reporting.outcome import FallbackRow, Outcome, report_path, write_report
from convert.statistics.metrics import MAXIMUM_SQNR_DB
from convert.statistics.verdict import FAIL, PASS, Gate, level
from convert.system.progress import Progress
from convert.system.temporary import scratch_folder
from convert.tflite import artifact_writer
from convert.tflite.artifact_writer import Package
from convert.tflite.graph import layer_name
from convert.tflite.metadata import stretched_by_others
from convert.tflite.speed import Speed, compare_speed
from edge_runtime.labels import count_advice

SUFFIX, FAILED_SUFFIX = ".tflite", ".failed.tflite"


@dataclass(frozen=True)
class Prepared:
    """What all schemes of a job share.

    Attributes:
        float_layers: tensors whose operators `--keep-float` keeps in float.
        calibration: None if no scheme calibrates.
        reference: predictions of the float network; None if drift is not measured.
        scratch: a temporary folder.
        cached: the stages whose results came from the cache.
        io: scheme name -> data type of the artifact's input and output.
    """

    job: Job
    inputs: Inputs
    network: FloatModel
    float_layers: tuple[str, ...]
    calibration: Calibration | None
    reference: Predictions | None
    timings_s: dict[str, float]
    scratch: Path
    cached: tuple[str, ...]
    io: dict[str, str]


def convert(job: Job, progress: Progress) -> list[Outcome]:
    """Convert a network with every scheme of the job, and judge the results.

    After an `EdgeError` no artifact of an earlier run is lost, and none is half-written.
    """
    inputs = check(job)
    for note in inputs.notes:
        progress.note(note)
    with ExitStack() as stack:  # the scratch folder is gone when the work is done, has failed or was interrupted
        try:
            scratch = stack.enter_context(scratch_folder(job.output_dir))
        except OSError as error:
            raise ConvertError(
                f"--output-dir {job.output_dir} cannot be written to: {error.strerror or error}"
            ) from error
        prepared = _prepare(job, inputs, scratch, progress)
        outcomes: list[Outcome] = []
        for scheme in job.schemes:
            progress.stage(f"quantizing: {scheme.name}")
            float_layers = prepared.float_layers if scheme.keeps_layers else ()
            outcome = _make_artifact(prepared, Recipe(scheme, prepared.io[scheme.name], float_layers), progress)
            recovered = _recover(prepared, scheme, outcome, progress) if job.recover else []
            made = [replace(outcome, superseded=bool(recovered)), *recovered]
            outcomes = [*_not_replaced(outcomes, made, progress), *made]
        _write_pages(job, outcomes)
        return outcomes


def _not_replaced(outcomes: Sequence[Outcome], made: Sequence[Outcome], progress: Progress) -> list[Outcome]:
    """Return the outcomes whose files are still theirs: what may not be called int8 can take the name of another."""
    taken = {outcome.path for outcome in made}
    for path in {outcome.path for outcome in outcomes} & taken:
        progress.note(f"{path.name} is made twice, and the last one stays: give each scheme its own --output-dir")
    return [outcome for outcome in outcomes if outcome.path not in taken]


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Put the seconds of a block into `timings`."""
    start = time.perf_counter()
    yield
    timings[name] = round(time.perf_counter() - start, 3)


def _prepare(job: Job, inputs: Inputs, scratch: Path, progress: Progress) -> Prepared:
    """Lower, calibrate and run the float network, or recall what these stages gave before."""
    stages = StageCache(open_cache(progress.note) if job.use_cache else None, progress)
    timings: dict[str, float] = {}
    with _timed(timings, "lowering"):
        network = _lower(job, inputs, scratch, stages)
    name = job.source.name
    io = _choose_io(job, inputs, network, progress)
    float_layers = () if job.keep_float is None else matching_layers(network.model, job.keep_float)
    images = inputs.validation or inputs.calibration
    if images is not None and not job.source.is_ours:
        stages.run(preprocessing_check(name, network, images[:IMAGES]))
    calibration = reference = None
    with _timed(timings, "calibration"):
        if inputs.calibration is not None:
            options = CalibrationOptions(job.calibrator, until_enough=job.calibration_size is None)
            calibration = stages.run(calibrating(name, network, inputs.calibration, inputs.held_out, options))
    with _timed(timings, "reference"):
        if inputs.validation is not None:
            reference = stages.run(float_predictions(name, network, inputs.validation, scratch))
            for note in guess_notes(reference, inputs.validation):
                progress.note(note)
    recalled = tuple(stages.recalled)
    return Prepared(job, inputs, network, float_layers, calibration, reference, timings, scratch, recalled, io)


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
        raise SourceError(wrong_labels(job, len(labels), lowered))
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


def wrong_labels(job: Job, count: int, lowered: LoweredModel) -> str:
    """Word that there are more or fewer labels than classes."""
    message = f"--labels {job.labels} has {count} labels, the network has {lowered.classes} classes"
    if lowered.labels and lowered.labels[0] == BACKGROUND and count == lowered.classes - 1:
        return f"{message}: its class 0 is the {BACKGROUND}; put a line {BACKGROUND!r} before the others"
    return f"{message}: {count_advice(count, lowered.classes)}"


def _make_artifact(prepared: Prepared, recipe: Recipe, progress: Progress, looks: int = 1) -> Outcome:
    """Quantize as a recipe says, measure drift, judge it, and write artifact and report; `looks` is as in `Gate`."""
    spent = dict(prepared.timings_s)
    calibration = prepared.calibration if recipe.scheme.calibrates else None
    with _timed(spent, "quantization"):
        quantized = _quantize(prepared, recipe, progress)
        asked, (scheme, broken) = recipe.scheme, audited(recipe.scheme, quantized.model)
        if broken is not None:
            progress.note(broken)
        name, images = prepared.job.source.name, _to_validate(prepared, recipe, quantized, progress)
        recipe = replace(recipe, scheme=scheme)
        build = _recorded(prepared, recipe, images) | ({} if scheme is asked else {ASKED: asked.name})
        card = card_of(name, quantized, prepared.network, recipe, prepared.calibration, build)
        package = artifact_writer.package(quantized.model, prepared.network.labels, card)
    with _timed(spent, "layers"):
        layers = _compare_layers(prepared, recipe, quantized)
    with _timed(spent, "drift"):
        assessment = _assess(prepared, recipe, package, images, progress, looks)
    drift = None if assessment is None else assessment.drift
    gate = None if assessment is None else assessment.gate
    prepared.inputs.files.refuse_changes()
    path, sha256 = _write_artifact(prepared.job.output_dir, package, drift, gate)
    speed = _speed(prepared, recipe.scheme, path)
    outcome = Outcome(
        recipe.scheme,
        path,
        path.stat().st_size,
        sha256,
        drift,
        gate,
        spent,
        calibration=None if calibration is None else {**calibration.to_json(), "available": prepared.inputs.available},
        layers=[layer.to_json() for layer in layers],
        float_layers=tuple(map(layer_name, recipe.float_layers)),
        keras_sqnr_db=prepared.network.lowered.keras_sqnr_db,
        latency_ms=None if speed is None else speed.milliseconds,
        float_latency_ms=None if speed is None else speed.float_milliseconds,
        compared=None if assessment is None else assessment.comparison,
        cached=prepared.cached,
        head=prepared.network.lowered.head,
        classes=len(prepared.network.labels),
        source=prepared.network.lowered.findings(),
        float_islands=_float_islands(recipe.scheme, quantized),
        raised=quantized.raised,
    )
    write_report(outcome.to_json(), path)
    return outcome


def _quantize(prepared: Prepared, recipe: Recipe, progress: Progress) -> QuantizedModel:
    """Quantize as a recipe says, and correct the head where the kernels are fast enough to run all images."""
    network, spec = prepared.network, prepared.network.spec
    calibration = prepared.calibration if recipe.scheme.calibrates else None
    if calibration is None:
        quantized = quantize(network.model, recipe, spec, None)
    else:
        quantized = calibration.quantize(recipe, spec, progress)
    if prepared.job.target_runtime is not None:
        refuse_newer(quantized.model, prepared.job.target_runtime)
    return quantized if calibration is None or recipe.scheme.slow_kernels else calibration.correct_head(quantized, spec)


def _float_islands(scheme: Scheme, quantized: QuantizedModel) -> list[FloatIsland]:
    """Return what is left in float between integers, and how long it takes where the kernels are fast enough."""
    found = float_islands(quantized.model)
    return found if scheme.slow_kernels else timed(quantized.model, found)


def _compare_layers(prepared: Prepared, recipe: Recipe, quantized: QuantizedModel) -> list[layer_comparison.LayerError]:
    """Compare layer by layer, for schemes with integer activations whose kernels are fast enough."""
    calibration, scheme = prepared.calibration, recipe.scheme
    if calibration is None or not scheme.calibrates or scheme.slow_kernels:
        return []
    return layer_comparison.compare_layers(calibration.equalized, quantized, prepared.network.spec, calibration.pixels)


def _to_validate(prepared: Prepared, recipe: Recipe, quantized: QuantizedModel, progress: Progress) -> ImageSet | None:
    """Return the images to measure drift on: on slow kernels as many as were asked for, or as time allows."""
    images, calibration, scheme = prepared.inputs.validation, prepared.calibration, recipe.scheme
    if images is None or calibration is None or not scheme.slow_kernels:
        return images
    seconds = seconds_per_image(quantized, prepared.network.spec, calibration.pixels)
    number = affordable(seconds, len(images), prepared.job.validation_size)
    progress.note(time_note(scheme.name, seconds, number, len(images)))
    return images[:number]


def _recorded(prepared: Prepared, recipe: Recipe, images: ImageSet | None) -> dict[str, Any]:
    """Return what the card holds of the job, with the images that drift is measured on, so that it can be repeated."""
    job, inputs = prepared.job, prepared.inputs
    if images is not None and inputs.validation is not None and len(images) < len(inputs.validation):
        job, inputs = replace(job, validation_size=len(images)), replace(inputs, validation=images)
    return job.recorded(inputs, recipe.io)


def _assess(
    prepared: Prepared, recipe: Recipe, package: Package, images: ImageSet | None, progress: Progress, looks: int
) -> Assessment | None:
    """Judge the artifact as it will be shipped, opened as a device opens it; None if drift is not measured."""
    reference, scheme = prepared.reference, recipe.scheme
    if images is None or reference is None:
        return None
    path = prepared.scratch / f"{scheme.name}{SUFFIX}"
    artifact_writer.write(package, path)
    with open_model(path) as candidate:
        predictions = predict_all(candidate, images, progress, f"drift of {scheme.name}")
        logits = tensor_logits(candidate, predictions.paths)
    path.unlink()
    expected, limits = reference.first(len(predictions.paths)), prepared.job.limits
    return assess(expected, predictions, images, limits, candidate_logits=logits, looks=looks)


def _write_artifact(folder: Path, package: Package, drift: Drift | None, gate: Gate | None) -> tuple[Path, str]:
    """Write the artifact, and return its path and SHA-256.

    A failed artifact never takes the name of a passing one; a passing one replaces a failed one.
    """
    name = f"{package.card.name}.{package.card.scheme}"
    passing, failing = folder / f"{name}{SUFFIX}", folder / f"{name}{FAILED_SUFFIX}"
    path = failing if gate is not None and gate.verdict == FAIL else passing
    summary = None if drift is None or gate is None else {**drift.summary(), "verdict": gate.verdict}
    sha256 = artifact_writer.write(package.with_drift(summary), path)
    stale = [report_path(path), html.beside(path)]  # of the artifact before, should the run end here
    if gate is not None and gate.verdict == PASS:
        stale += [failing, report_path(failing), html.beside(failing)]
    for old in stale:
        old.unlink(missing_ok=True)
    return path, sha256


def _speed(prepared: Prepared, scheme: Scheme, path: Path) -> Speed | None:
    """Time an artifact beside its float network on this machine's CPU; None where reference kernels take minutes."""
    if scheme.slow_kernels:
        return None
    if not scheme.rules:
        return compare_speed(path, None, prepared.network.spec)
    float_model = prepared.scratch / f"float{SUFFIX}"
    float_model.write_bytes(prepared.network.model)
    return compare_speed(path, float_model, prepared.network.spec)


def _recover(prepared: Prepared, asked: Scheme, outcome: Outcome, progress: Progress) -> list[Outcome]:
    """If an artifact did not pass, make the one with the fewest layers in float that does, or the best there is."""
    if asked.fallback is None or outcome.gate is None or outcome.gate.verdict == PASS:
        return []
    progress.note(f"{asked.name}: {outcome.gate.verdict}; looking for the layers that cost most")
    scheme, io = SCHEMES[asked.fallback], prepared.io[asked.name]
    assert prepared.calibration is not None
    unchanged, *alternatives = find_fallbacks(prepared.calibration, scheme, io, progress)
    rows, looks = [_fallback_row(unchanged, outcome)], 1 + len(alternatives)
    if alternatives:
        progress.note(
            f"up to {looks} artifacts are judged on the same images: intervals of {level(looks):.2%} for each"
        )
    recovered = outcome
    for fallback in alternatives:
        recovered = _make_artifact(prepared, Recipe(scheme, io, fallback.outputs), progress, looks)
        rows.append(_fallback_row(fallback, recovered))
        gained = fallback.score.sqnr_db - unchanged.score.sqnr_db
        progress.note(f"{fallback.layers} layers in float: {gained:+.1f} dB, {rows[-1].verdict}")
        if rows[-1].verdict == PASS:
            break
    if recovered is outcome:
        progress.note(f"no run of layers in float does better than {asked.name}")
        return []
    recovered = replace(recovered, recovery=rows)
    write_report(recovered.to_json(), recovered.path)
    return [recovered]


def _fallback_row(fallback: FloatFallback, outcome: Outcome) -> FallbackRow:
    assert outcome.drift is not None
    assert outcome.gate is not None
    return FallbackRow(
        fallback.layers,
        outcome.bytes,
        round(fallback.score.milliseconds, 2),
        round(fallback.score.sqnr_db, 2),
        outcome.drift.agreement_top1,
        outcome.gate.verdict,
    )


def _write_pages(job: Job, outcomes: Sequence[Outcome]) -> None:
    """Write a page beside each artifact, with the figures of the other schemes, too."""
    reports = [outcome.to_json() for outcome in outcomes]
    for value, outcome in zip(reports, outcomes, strict=True):
        others = [other for other in reports if other is not value]
        html.write(html.render(value, outcome.compared, others, job.thumbnails), html.beside(outcome.path))
