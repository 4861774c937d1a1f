"""The second half of a conversion: a recipe, and what all schemes share, to a judged artifact and its report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convert.audit.promise import audited
from convert.audit.runtimes import refuse_newer
from convert.cache.stages import StageCache, answers, quantizing, timing
from convert.drift.figures import Assessment, Drift, assess
from convert.drift.time_budget import affordable, seconds_per_image, time_note
from convert.images.dataset import ImageSet
from convert.job import ASKED
from convert.preparation import Prepared, stopwatch
from convert.quantization.quantize import QuantizedModel
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantized import QuantizedNetwork, quantize_network
from convert.reporting import html
from convert.reporting.card import card_of
from convert.reporting.outcome import Outcome, report_path, write_report
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS, Gate
from convert.system.progress import Progress
from convert.tflite import artifact_writer
from convert.tflite.artifact_writer import Package
from convert.tflite.graph import layer_name
from convert.tflite.speed import Speed
from edge_runtime.artifact import open_artifact
from edge_runtime.errors import EdgeError

SUFFIX = ".tflite"
BESIDE = {FAIL: ".failed.tflite", INCONCLUSIVE: ".inconclusive.tflite"}
"""Verdict -> the suffix that keeps an artifact from taking the name of one that passed."""


def make_artifact(prepared: Prepared, recipe: Recipe, progress: Progress, looks: int = 1) -> Outcome:
    """Quantize as a recipe says, measure drift, judge it, and write artifact and report; `looks` is as in `Gate`."""
    spent, stages = dict(prepared.timings_s), prepared.stages.forked()
    calibration = prepared.calibration if recipe.scheme.calibrates else None
    with stopwatch(spent, "quantization"):
        network = _quantize(prepared, recipe, stages)
        quantized, asked = network.quantized, recipe.scheme
        scheme, broken = audited(asked, quantized.graph)
        if broken is not None:
            progress.note(broken)
        name, images = prepared.job.source.name, _to_validate(prepared, recipe, quantized, progress)
        recipe = replace(recipe, scheme=scheme)
        build = _recorded(prepared, recipe, images) | ({} if scheme is asked else {ASKED: asked.name})
        card = card_of(name, quantized, prepared.network, recipe, prepared.calibration, build)
        package = artifact_writer.package(quantized.model, prepared.network.labels, card)
    with stopwatch(spent, "drift"):
        assessment = _assess(prepared, recipe, package, images, stages, looks)
    drift = None if assessment is None else assessment.drift
    gate = None if assessment is None else assessment.gate
    prepared.inputs.files.refuse_changes()
    written = _write_artifact(prepared.job.output_dir, package, drift, gate)
    speed = _speed(prepared, package, written.path, stages)
    outcome = Outcome(
        recipe.scheme,
        written.path,
        written.path.stat().st_size,
        written.sha256,
        drift,
        gate,
        spent,
        calibration=None if calibration is None else {**calibration.to_json(), "available": prepared.inputs.available},
        layers=[layer.to_json() for layer in network.layers],
        float_layers=tuple(map(layer_name, recipe.float_layers)),
        keras_sqnr_db=prepared.network.lowered.keras_sqnr_db,
        latency_ms=None if speed is None else speed.milliseconds,
        float_latency_ms=None if speed is None else speed.float_milliseconds,
        compared=None if assessment is None else assessment.comparison,
        cached=tuple(stages.recalled),
        head=prepared.network.lowered.head,
        classes=len(prepared.network.labels),
        source=prepared.network.lowered.findings(),
        float_islands=network.islands,
        raised=quantized.raised,
        preprocessing=prepared.network.spec.to_json(),
        warnings=tuple(prepared.warnings),
        passed_before=written.passed_before,
    )
    write_report(outcome.to_json(), written.path)
    return outcome


def _quantize(prepared: Prepared, recipe: Recipe, stages: StageCache) -> QuantizedNetwork:
    """Quantize as a recipe says; refuse what the target runtime cannot run."""
    name, request, calibration = prepared.job.source.name, prepared.request, prepared.calibration
    if request is None or calibration is None or not recipe.scheme.calibrates:
        network = quantize_network(prepared.network, None, recipe, stages.progress)
    else:
        network = stages.run(quantizing(name, prepared.network, request, calibration, recipe))
    if prepared.job.target_runtime is not None:
        refuse_newer(network.quantized.model, prepared.job.target_runtime)
    return network


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
    prepared: Prepared, recipe: Recipe, package: Package, images: ImageSet | None, stages: StageCache, looks: int
) -> Assessment | None:
    """Judge the artifact as it will be shipped, opened as a device opens it; None if drift is not measured."""
    reference, scheme = prepared.reference, recipe.scheme
    if images is None or reference is None:
        return None
    path = prepared.scratch / f"{scheme.name}{SUFFIX}"
    artifact_writer.write(package, path)
    predictions, logits = stages.run(answers(package, path, prepared.network, images))
    path.unlink()
    expected, limits = reference.first(len(predictions.paths)), prepared.job.limits
    return assess(expected, predictions, images, limits, candidate_logits=logits, looks=looks)


@dataclass(frozen=True)
class Written:
    """An artifact's path and SHA-256, and the path of the one that had passed under the name that it asked for."""

    path: Path
    sha256: str
    passed_before: Path | None


def _write_artifact(folder: Path, package: Package, drift: Drift | None, gate: Gate | None) -> Written:
    """Write the artifact under the name that its verdict allows.

    One that failed never has the plain name, and an inconclusive one never takes it from one that passed. Whoever asks
    for no verdict gets the name: a command that ends with 0 has made the file that the next one opens.
    """
    name, verdict = f"{package.card.name}.{package.card.scheme}", None if gate is None else gate.verdict
    plain, beside = folder / f"{name}{SUFFIX}", {each: folder / f"{name}{suffix}" for each, suffix in BESIDE.items()}
    passed_before = plain if _has_passed(plain) else None
    path = plain
    if verdict == FAIL or (verdict == INCONCLUSIVE and passed_before is not None):
        path = beside[verdict]
    summary = None if drift is None or gate is None else {**drift.summary(), "verdict": gate.verdict}
    sha256 = artifact_writer.write(package.with_drift(summary), path)
    stale = [report_path(path), html.beside(path)]  # of the artifact before, should the run end here
    for less in beside.values() if verdict == PASS else ():
        stale += [less, report_path(less), html.beside(less)]
    for old in stale:
        old.unlink(missing_ok=True)
    return Written(path, sha256, passed_before)


def _has_passed(path: Path) -> bool:
    """Return whether there is a whole artifact whose card says that it passed."""
    try:
        drift = open_artifact(path).card.drift
    except (EdgeError, OSError):
        return False
    return drift is not None and drift.get("verdict") == PASS


def _speed(prepared: Prepared, package: Package, path: Path, stages: StageCache) -> Speed | None:
    """Time an artifact beside its float network on this machine's CPU; None where reference kernels take minutes."""
    scheme = SCHEMES[package.card.scheme]
    if scheme.slow_kernels:
        return None
    if not scheme.rules:
        return stages.run(timing(package, path, prepared.network, None))
    return stages.run(timing(package, path, prepared.network, prepared.scratch / f"float{SUFFIX}"))
