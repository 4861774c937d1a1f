"""What is known of an artifact: its own card and labels, and the report that lies beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convert.errors import SourceError
from convert.reporting.formatting import Report
from convert.reporting.outcome import report_path
from edge_runtime import Card
from edge_runtime.artifact import open_artifact
from edge_runtime.hashing import file_sha256
from edge_runtime.nearby import did_you_mean
from edge_runtime.specs import SOFTMAX

REPORT_SUFFIX = ".report.json"
STRANGE = (KeyError, TypeError, ValueError, AttributeError)
"""What reading a report or a card raises that has other keys or values than ours."""


@dataclass(frozen=True)
class Described:
    """An artifact, as its files describe it.

    Attributes:
        path: of the artifact or of the report, as it was given.
        artifact: path of the artifact; None where only a report is there.
        report: as `Outcome.to_json` or `irv2-drift` wrote it; where there is none, the part of it that the card holds.
        card, labels: of the artifact; None where only a report is there.
        notes: what was left out, and why.
    """

    path: Path
    report: Report
    artifact: Path | None = None
    card: Card | None = None
    labels: tuple[str, ...] | None = None
    notes: list[str] = field(default_factory=list)


def describe(path: Path) -> Described:
    """Read an artifact and the report beside it, or a report and the artifact beside it.

    A report counts for the file alone that it was written for, by SHA-256.

    Raises:
        ArtifactError: it is no artifact, or damaged.
        SourceError: it is no report.
    """
    if path.suffix != ".json":
        return _of_artifact(path, path, _read(report_path(path)))
    report = _read(path)
    if report is None:
        raise SourceError(
            f"{path} does not exist{did_you_mean(path)}: pass an artifact, or a report that irv2-convert or irv2-drift "
            "wrote"
        )
    beside = path.with_name(path.name.removesuffix(REPORT_SUFFIX))
    if beside != path and beside.is_file() and file_sha256(beside) == report["artifact"]["sha256"]:
        return _of_artifact(path, beside, report)
    return Described(path, report)


def _of_artifact(given: Path, path: Path, report: Report | None) -> Described:
    artifact, sha256, notes = open_artifact(path), file_sha256(path), []
    if report is not None and report["artifact"]["sha256"] != sha256:
        notes.append(f"{report_path(path)} is of another file than {path}: left out")
        report = None
    if report is None:
        report = _said_by(artifact.card, path, sha256)
    return Described(given, report, path, artifact.card, artifact.labels, notes)


def _said_by(card: Card, path: Path, sha256: str) -> dict[str, Any]:
    """Return what a card holds of a report."""
    drift = None if card.drift is None else {key: value for key, value in card.drift.items() if key != "verdict"}
    limits = card.source.get("build", {}).get("limits", {})
    return {
        "scheme": card.scheme,
        **({} if card.head == SOFTMAX else {"head": card.head}),
        "artifact": {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256},
        "drift": drift,
        "gate": None if card.drift is None else {"verdict": card.drift["verdict"], "limits": limits, "reasons": []},
        "calibration": card.calibration,
    }


def _read(path: Path) -> dict[str, Any] | None:
    """Return a report; None if there is no file."""
    if not path.is_file():
        return None
    try:
        report = json.loads(path.read_bytes())
        if not all(isinstance(report["artifact"][key], str) for key in ("path", "sha256")):
            raise ValueError("its artifact has no path and no sha256")
        if not all(isinstance(report[key], dict | None) for key in ("drift", "gate")):
            raise ValueError("drift or gate is no object")
    except (*STRANGE, RecursionError) as error:
        raise _strange(path, error) from error
    return dict(report)


@contextmanager
def known_keys(path: Path) -> Iterator[None]:
    """Raise what goes wrong in the block, because a report or a card has other keys than ours, as a `SourceError`."""
    try:
        yield
    except STRANGE as error:
        raise _strange(path, error) from error


def _strange(path: Path, error: Exception) -> SourceError:
    return SourceError(f"{path} is not what irv2-convert or irv2-drift wrote ({error!r}): make it again")
