"""One artifact: quantized, measured, judged, written."""

from __future__ import annotations

import os
from pathlib import Path

from convert import building, provenance
from convert.audit.runtimes import refuse_newer
from convert.building import Recipe
from convert.drift import drift
from convert.drift.comparison import Comparison
from convert.drift.drift import Drift, Gate
from convert.lowering.float_model import FloatModel
from convert.preparation import Prepared, timed
from convert.quantization import layer_comparison
from convert.quantization.calibrate import Calibration
from convert.quantization.quantize import QuantizedModel
from convert.quantization.schemes import Scheme
from convert.reporting import html, report_json
from convert.reporting.outcome import Outcome
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
        compared = _compare(prepared, recipe, built, progress)
    measured = gate = None
    if compared is not None:
        measured = drift.compare(compared.reference, compared.candidate, compared.true_classes)
        gate = drift.judge(measured, prepared.job.limits)
    prepared.inputs.files.refuse_changes()
    path, sha256 = _write(prepared.job.output_dir, built, measured, gate)
    outcome = Outcome(
        recipe.scheme,
        path,
        path.stat().st_size,
        sha256,
        measured,
        gate,
        spent,
        calibration=calibration.to_json() if calibration is not None and recipe.scheme.calibrates else None,
        layers=[layer.to_json() for layer in per_layer],
        float_layers=tuple(map(layer_comparison.layer_name, recipe.float_layers)),
        keras_sqnr_db=network.lowered.keras_sqnr_db,
        latency_ms=_latency_ms(recipe.scheme, path),
        compared=compared,
        cached=prepared.cached,
    )
    report_json.write(report_json.to_json(outcome), path)
    return outcome


def _write(folder: Path, built: artifact_writer.Package, measured: Drift | None, gate: Gate | None) -> tuple[Path, str]:
    """Path and SHA-256 of the artifact."""
    name = f"{built.card.name}.{built.card.scheme}"
    passing, failing = folder / f"{name}{SUFFIX}", folder / f"{name}{FAILED_SUFFIX}"
    path = failing if gate is not None and gate.verdict == drift.FAIL else passing
    summary = None if measured is None or gate is None else {**measured.summary(), "verdict": gate.verdict}
    sha256 = artifact_writer.write(built.with_drift(summary), path)
    stale = [report_json.beside(path), html.beside(path)]  # of another artifact, should the run end before the new ones
    if gate is not None and gate.verdict == drift.PASS:
        stale += [failing, report_json.beside(failing), html.beside(failing)]
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


def _compare(
    prepared: Prepared, recipe: Recipe, built: artifact_writer.Package, progress: Progress
) -> Comparison | None:
    """Answers of the artifact as it will be shipped, opened as a device opens it, beside the reference's."""
    images, reference, scheme = prepared.inputs.validation, prepared.reference, recipe.scheme
    if images is None or reference is None:
        return None
    few = images[: scheme.validation_limit]
    if len(few) < len(images):
        progress.note(f"{scheme.name} runs on reference kernels: drift is measured on {len(few)} images only")
    path = prepared.scratch / f"{scheme.name}{SUFFIX}"
    artifact_writer.write(built, path)
    with drift.open_for_many(path) as classifier:
        candidate = drift.answer(classifier, few, progress, f"drift of {scheme.name}")
    path.unlink()
    wanted = reference.first(len(candidate.paths))
    return Comparison(wanted, candidate, drift.truth(images, wanted))


def _latency_ms(scheme: Scheme, path: Path) -> float | None:
    """Median time of an image on this machine's CPU; None where reference kernels would take minutes."""
    if scheme.validation_limit is not None:
        return None
    speed, _, _ = measure_speed(str(path), "litert", os.cpu_count() or 1, TIMED_WARMUP, TIMED_RUNS)
    return round(speed.p50_ms, 3)
