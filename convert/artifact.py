"""One artifact: quantized, measured, judged, written."""

from __future__ import annotations

import os
from pathlib import Path

from convert import building, provenance
from convert.audit.runtimes import refuse_newer
from convert.building import Recipe
from convert.drift.figures import Assessment, Drift, assess
from convert.drift.models import open_model
from convert.drift.predictions import predict_all
from convert.lowering.float_model import FloatModel
from convert.preparation import Prepared, timed
from convert.quantization import layer_comparison
from convert.quantization.calibrate import Calibration
from convert.quantization.quantize import QuantizedModel
from convert.quantization.schemes import Scheme
from convert.reporting import html
from convert.reporting import outcome as report
from convert.reporting.outcome import Outcome
from convert.statistics.verdict import FAIL, PASS, Gate
from convert.system.progress import Progress
from convert.tflite import artifact_writer
from edge_runtime.benchmark import measure as measure_speed

TIMED_WARMUP, TIMED_RUNS = 2, 15
SUFFIX, FAILED_SUFFIX = ".tflite", ".failed.tflite"


def make_artifact(prepared: Prepared, recipe: Recipe, progress: Progress) -> Outcome:
    """Quantize as a recipe says, measure drift, judge it, and write artifact and report.

    A failed artifact never takes the name of a passing one; a passing one takes the place of a failed one.
    """
    spent = dict(prepared.timings_s)
    network, calibration = prepared.network, prepared.calibration
    with timed(spent, "quantization"):
        quantized = building.apply(network, recipe, calibration)
        if prepared.job.target_runtime is not None:
            refuse_newer(quantized.model, prepared.job.target_runtime)
        quantized = building.correct(quantized, network, recipe, calibration)
        build = provenance.of(prepared.job, prepared.inputs, recipe)
        built = building.describe(prepared.job.source.name, quantized, network, recipe, calibration, build)
    with timed(spent, "layers"):
        per_layer = _compare_layers(quantized, recipe, calibration, network)
    with timed(spent, "drift"):
        assessment = _assess(prepared, recipe, built, progress)
    drift = None if assessment is None else assessment.drift
    gate = None if assessment is None else assessment.gate
    prepared.inputs.files.refuse_changes()
    path, sha256 = _write(prepared.job.output_dir, built, drift, gate)
    outcome = Outcome(
        recipe.scheme,
        path,
        path.stat().st_size,
        sha256,
        drift,
        gate,
        spent,
        calibration=calibration.to_json() if calibration is not None and recipe.scheme.calibrates else None,
        layers=[layer.to_json() for layer in per_layer],
        float_layers=tuple(map(layer_comparison.layer_name, recipe.float_layers)),
        keras_sqnr_db=network.lowered.keras_sqnr_db,
        latency_ms=_latency_ms(recipe.scheme, path),
        compared=None if assessment is None else assessment.comparison,
        cached=prepared.cached,
    )
    report.write_json(report.to_json(outcome), path)
    return outcome


def _write(folder: Path, built: artifact_writer.Package, drift: Drift | None, gate: Gate | None) -> tuple[Path, str]:
    """Path and SHA-256 of the artifact."""
    name = f"{built.card.name}.{built.card.scheme}"
    passing, failing = folder / f"{name}{SUFFIX}", folder / f"{name}{FAILED_SUFFIX}"
    path = failing if gate is not None and gate.verdict == FAIL else passing
    summary = None if drift is None or gate is None else {**drift.summary(), "verdict": gate.verdict}
    sha256 = artifact_writer.write(built.with_drift(summary), path)
    stale = [report.beside(path), html.beside(path)]  # of another artifact, should the run end before the new ones
    if gate is not None and gate.verdict == PASS:
        stale += [failing, report.beside(failing), html.beside(failing)]
    for old in stale:
        old.unlink(missing_ok=True)
    return path, sha256


def _compare_layers(
    quantized: QuantizedModel, recipe: Recipe, calibration: Calibration | None, network: FloatModel
) -> list[layer_comparison.LayerError]:
    """Layer by layer, for schemes with integer activations whose kernels are fast enough."""
    if calibration is None or not recipe.scheme.calibrates or recipe.scheme.validation_limit is not None:
        return []
    return layer_comparison.compare_layers(calibration.equalized, quantized, network.spec, calibration.pixels)


def _assess(
    prepared: Prepared, recipe: Recipe, built: artifact_writer.Package, progress: Progress
) -> Assessment | None:
    """Judge the artifact as it will be shipped, opened as a device opens it, against the reference."""
    images, reference, scheme = prepared.inputs.validation, prepared.reference, recipe.scheme
    if images is None or reference is None:
        return None
    few = images.first(scheme.validation_limit)
    if len(few) < len(images):
        progress.note(f"{scheme.name} runs on reference kernels: drift is measured on {len(few)} images only")
    path = prepared.scratch / f"{scheme.name}{SUFFIX}"
    artifact_writer.write(built, path)
    with open_model(path) as candidate:
        predictions = predict_all(candidate, few, progress, f"drift of {scheme.name}")
    path.unlink()
    return assess(reference.first(len(predictions.paths)), predictions, images, prepared.job.limits)


def _latency_ms(scheme: Scheme, path: Path) -> float | None:
    """Median time of an image on this machine's CPU; None where reference kernels would take minutes."""
    if scheme.validation_limit is not None:
        return None
    speed, _, _ = measure_speed(str(path), "litert", os.cpu_count() or 1, TIMED_WARMUP, TIMED_RUNS)
    return round(speed.p50_ms, 3)
