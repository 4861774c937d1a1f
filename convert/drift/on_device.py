"""The drift check on a device: its answers are judged against the reference, and compared with this host's."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.devices.device import Device, look_at, prepare
from convert.devices.ssh import Address, DeviceError
from convert.drift import attribution
from convert.drift.figures import assess
from convert.drift.models import ModelPredictor
from convert.drift.predictions import Predictions, predict_all, refuse_too_few
from convert.drift.run import DriftRequest, DriftRun, open_models, reported, run_identity
from convert.images.dataset import ImageSet, Snapshot
from convert.images.reader import PixelReader, note_skipped
from convert.statistics.verdict import FIXED, Limits
from convert.system.progress import Progress
from edge_runtime.arrays import Array

THROTTLED = 0.9
"""A clock that has fallen below this part of what it was is said to be throttled."""
Answers = dict[Path, tuple[str, Array]]
"""Image -> SHA-256 of its prepared pixels, and its probabilities, float32 (classes,)."""


def run(address: Address, request: DriftRequest, limits: Limits, progress: Progress) -> DriftRun:
    """Let a device answer all images, and judge its answers; the report has `device` in addition to those of `run`.

    An `EdgeError` names the file, or the device and what it lacks.
    """
    images = request.image_set()
    files = Snapshot(images)
    with open_models(request, images, progress) as (reference, candidate):
        device = look_at(address)
        progress.stage(f"copying to {address.text}")
        sha256, hashes = prepare(device, candidate.path, images.paths)
        expected = predict_all(reference, images, progress, "reference")
        refuse_too_few(expected, images)
        timed: list[dict[str, Any]] = []
        answered = progress.track(device.answers(_model(device, candidate, sha256), hashes), address.text, len(images))
        there, skipped = _received(zip(images.paths, answered, strict=True), device, timed)
        here = _on_host(candidate, images, progress)
        files.refuse_changes()
        if tuple(device.opened["labels"]) != candidate.labels:
            raise DeviceError(f"{address.text} reads other labels from {candidate.path}: update irv2-edge here")
        both = tuple(path for path in expected.paths if path in there and path in here)
        predicted = replace(_stacked(both, there, candidate), skipped=tuple(skipped))
        refuse_too_few(predicted, images)
        note_skipped(progress.note, skipped, images)
        assessment = assess(_only(expected, both), predicted, images, limits, FIXED)
        step = attribution.host_to_device(_stacked(both, here, candidate), predicted)
        found = reported(assessment, request.paths, run_identity(request, reference, candidate, images), [step])
        found.report["device"] = _facts(device, timed) | _differences(both, here, there, images.root)
        return found


def _model(device: Device, candidate: ModelPredictor, sha256: str) -> dict[str, Any]:
    """Return what the agent is told of the model; one without a card is described."""
    told = {"model": device.place(sha256), "sha256": sha256}
    if candidate.classifier.artifact is not None:
        return told
    return {**told, "spec": candidate.spec.to_json(), "labels": list(candidate.labels)}


def _received(answered: Any, device: Device, timed: list[dict[str, Any]]) -> tuple[Answers, list[str]]:
    """Collect the answers, and what is said of images that the device cannot read; add readable ones to `timed`."""
    found, skipped = Answers(), []
    for path, answer in answered:
        if "unreadable" in answer:
            skipped.append(f"{path}: {answer['unreadable']}")
            continue
        row = np.array(answer["probabilities"], np.float32)
        if not np.isfinite(row).all():
            raise DeviceError(f"{device.address.text} answers {path} with NaN or infinity: run irv2-predict there")
        found[path] = answer["pixels_sha256"], row
        timed.append(answer)
    return found, skipped


def _on_host(candidate: ModelPredictor, images: ImageSet, progress: Progress) -> Answers:
    """Answer the images here."""
    reader, run = PixelReader(candidate.spec), candidate.classifier.run
    rows = reader.run(
        images,
        lambda pixels: (hashlib.sha256(pixels.tobytes()).hexdigest(), run(pixels)),
        candidate.classifier.receipt.workers,
    )
    return {images.paths[index]: row for index, row in progress.track(rows, "this host", len(images))}


def _stacked(paths: tuple[Path, ...], answers: Answers, candidate: ModelPredictor) -> Predictions:
    rows = np.array([answers[path][1] for path in paths], np.float32).reshape(-1, len(candidate.labels))
    return Predictions(paths, rows, candidate.labels, step=candidate.step, head=candidate.head)


def _only(predictions: Predictions, paths: tuple[Path, ...]) -> Predictions:
    """Return the predictions for some of the images."""
    row_of = {path: row for row, path in enumerate(predictions.paths)}
    rows = predictions.probabilities[[row_of[path] for path in paths]]
    return replace(predictions, paths=paths, probabilities=rows)


def _facts(device: Device, timed: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what ran, how fast, and in which state the device was before and after."""
    opened, after = device.opened, device.ended
    times = [answer["prepare_ms"] + answer["ms"] for answer in timed]
    percentiles = np.percentile(times[1:] or times, (50, 95, 99), method="higher")
    clocks = opened["state"]["clock_khz"], after["clock_khz"]
    return {
        "address": device.address.text,
        "machine": opened["machine"],
        "python": opened["python"],
        "receipt": opened["receipt"],
        "latency_ms": dict(zip(("p50", "p95", "p99"), map(float, percentiles), strict=True)) | {"first": times[0]},
        "startup_ms": {"engine": opened["import_ms"], "model": opened["load_ms"]},
        "before": opened["state"],
        "after": after,
        "throttled": None if None in clocks else bool(clocks[1] < THROTTLED * clocks[0]),
        "connections": device.connections,
    }


def _differences(paths: tuple[Path, ...], here: Answers, there: Answers, root: Path) -> dict[str, Any]:
    """Return how many images have other pixels and other answers there than here, and the largest difference."""
    off = {path: float(np.abs(here[path][1] - there[path][1]).max()) for path in paths}
    worst = max(off, key=lambda path: off[path])
    return {
        "images": len(paths),
        "pixels_different": sum(here[path][0] != there[path][0] for path in paths),
        "answers_different": sum(not np.array_equal(here[path][1], there[path][1]) for path in paths),
        "largest_difference": off[worst],
        "largest_in": worst.relative_to(root).as_posix() if off[worst] else None,
    }
