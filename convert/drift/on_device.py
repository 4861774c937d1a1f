"""The drift check on devices: the answers of each are judged against the reference, and compared with this host's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.devices.device import Device, prepare
from convert.devices.fleet import Fleet, Tell
from convert.devices.looking import look_at
from convert.devices.speed import speed_remarks
from convert.devices.ssh import DeviceError, Line
from convert.drift import attribution
from convert.drift.decisions import DECISIONS
from convert.drift.device_answers import Answered, answers_of, differences, facts
from convert.drift.figures import assess
from convert.drift.models import ModelPredictor
from convert.drift.odd_devices import Answers, answer_remarks
from convert.drift.predictions import Predictions, Predictor, predict_all, refuse_too_few
from convert.drift.run import DriftRequest, DriftRun, open_models, reported, run_identity
from convert.images.dataset import ImageSet, Snapshot
from convert.images.reader import PixelReader, note_skipped
from convert.statistics.verdict import FIXED, Limits, worst
from convert.system.progress import Progress
from edge_runtime.delegates import CPU

OWN = ("drift", "gate", "blame", "device")
"""Keys of a report that each device of a fleet has its own of."""


@dataclass(frozen=True)
class Devices:
    """Which devices are asked, on which delegate they answer, and whether what they lack is installed there."""

    addresses: Sequence[str]
    delegate: str = CPU
    install: bool = False


def run(devices: Devices, request: DriftRequest, limits: Limits, progress: Progress) -> DriftRun:
    """Let devices answer all images side by side, and judge the answers of each.

    The report is that of the worst device, with `device` in addition to what a run on the host says; of several
    devices `fleet` has all. One that drops out does not stop the others.

    Raises:
        EdgeError: it names the file; or the device and what it lacks, if no other is left.
    """
    images = request.image_set()
    files = Snapshot(images)
    with (
        Fleet(devices.addresses, lambda error: progress.note(f"not judged: {error}")) as fleet,
        open_models(request, images, progress) as (reference, candidate),
    ):

        def ready(line: Line, _: Tell) -> tuple[Device, str, list[str]]:
            device = look_at(line, devices.install)
            return (device, *prepare(device, candidate.path, images.paths))

        def answer(line: Line, tell: Tell) -> Answered:
            device, sha256, hashes = copied[line]
            return answers_of(device, _model(device, candidate, sha256, devices.delegate), images, hashes, tell)

        progress.stage(f"copying to {fleet.name}")
        copied = fleet.finish(fleet.start(ready))
        answering = fleet.start(answer)
        expected = predict_all(reference, images, progress, "reference")
        here = _on_host(candidate, images, progress)
        for _ in progress.track(answering.pieces(), fleet.name, len(images) * len(copied)):
            pass
        answered = fleet.finish(answering)
        files.refuse_changes()
        judge = Judge(request, reference, candidate, images, expected, here, limits, progress)
        runs = fleet.each(answered, judge.judged)
        return runs[fleet.lines[0]] if len(fleet.lines) == 1 else judge.together(fleet, answered, runs)


@dataclass(frozen=True)
class Judge:
    """What the answers of each device are judged by: the reference's, `expected`, and this host's, `here`."""

    request: DriftRequest
    reference: Predictor
    candidate: ModelPredictor
    images: ImageSet
    expected: Predictions
    here: Answers
    limits: Limits
    progress: Progress

    def judged(self, found: Answered) -> DriftRun:
        """Judge one device; an `EdgeError` says why its answers cannot be."""
        images, candidate = self.images, self.candidate
        if tuple(found.device.opened["labels"]) != candidate.labels:
            raise DeviceError(f"{found.device.name} reads other labels from {candidate.path}: update irv2-edge here")
        both = tuple(path for path in self.expected.paths if path in found.answers and path in self.here)
        predicted = replace(_stacked(both, found.answers, candidate), skipped=found.skipped)
        refuse_too_few(predicted, images)
        note_skipped(self.progress.note, predicted.skipped, images)
        assessment = assess(_only(self.expected, both), predicted, images, self.limits, FIXED)
        step = attribution.host_to_device(_stacked(both, self.here, candidate), predicted)
        identity = run_identity(self.request, self.reference, candidate, images)
        run = reported(assessment, self.request.paths, identity, [step])
        run.report["device"] = facts(found) | differences(both, self.here, found.answers, images.root)
        return run

    def together(self, fleet: Fleet, answered: Mapping[Line, Answered], runs: Mapping[Line, DriftRun]) -> DriftRun:
        """Return the run of the worst device, with all of them as `fleet` in its report."""
        verdict = worst([run.assessment.gate.verdict for run in runs.values()])
        those = [run for run in runs.values() if run.assessment.gate.verdict == verdict]
        shown = min(those, key=lambda run: run.assessment.drift.agreement_top1)
        rows = []
        for line in fleet.lines:
            row: dict[str, Any] = {"address": line.address.text, "error": fleet.failures.get(line)}
            rows.append(row if line not in runs else row | {key: runs[line].report[key] for key in OWN})
        there = {line.address.text: answered[line].answers for line in runs}
        times = {line.address.text: run.report["device"]["latency_ms"]["p50"] for line, run in runs.items()}
        odd = answer_remarks(there, self.here, DECISIONS[self.candidate.head], self.images.root)
        return replace(
            shown, report={**shown.report, "fleet": {"devices": rows, "remarks": [*odd, *speed_remarks(times)]}}
        )


def _model(device: Device, candidate: ModelPredictor, sha256: str, delegate: str) -> dict[str, Any]:
    """Return what the agent is told of the model; one without a card is described."""
    told = {"model": device.place(sha256), "sha256": sha256, "delegate": delegate}
    if candidate.classifier.artifact is not None:
        return told
    return {**told, "spec": candidate.spec.to_json(), "labels": list(candidate.labels)}


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
