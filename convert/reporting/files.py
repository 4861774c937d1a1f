"""The files of a conversion: an artifact, named by its verdict, with its report and its page beside it."""

from __future__ import annotations

from pathlib import Path

from convert.drift.figures import Drift
from convert.reporting import html, report_json
from convert.statistics.verdict import FAIL, PASS, Gate
from convert.tflite import artifact_writer
from convert.tflite.artifact_writer import Package

SUFFIX, FAILED_SUFFIX = ".tflite", ".failed.tflite"


def write_artifact(folder: Path, package: Package, drift: Drift | None, gate: Gate | None) -> tuple[Path, str]:
    """Write the artifact, and return its path and SHA-256.

    A failed artifact never takes the name of a passing one; a passing one replaces a failed one.
    """
    name = f"{package.card.name}.{package.card.scheme}"
    passing, failing = folder / f"{name}{SUFFIX}", folder / f"{name}{FAILED_SUFFIX}"
    path = failing if gate is not None and gate.verdict == FAIL else passing
    summary = None if drift is None or gate is None else {**drift.summary(), "verdict": gate.verdict}
    sha256 = artifact_writer.write(package.with_drift(summary), path)
    stale = [report_json.beside(path), html.beside(path)]  # of the artifact before, should the run end here
    if gate is not None and gate.verdict == PASS:
        stale += [failing, report_json.beside(failing), html.beside(failing)]
    for old in stale:
        old.unlink(missing_ok=True)
    return path, sha256
