"""The report of an artifact as JSON, `<artifact>.report.json`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convert.drift import attribution
from convert.reporting.outcome import Outcome
from convert.system.atomic import write_atomically
from convert.system.machine import environment


def to_json(outcome: Outcome) -> dict[str, Any]:
    """Return the report of one artifact as JSON values."""
    drift, gate = outcome.drift, outcome.gate
    return {
        "scheme": outcome.scheme.name,
        "artifact": {"path": str(outcome.path), "bytes": outcome.bytes, "sha256": outcome.sha256},
        "drift": None if drift is None else drift.to_json(),
        "blame": [] if drift is None else attribution.conversion(outcome.keras_sqnr_db, drift),
        "gate": None if gate is None else gate.to_json(),
        "calibration": outcome.calibration,
        "layers": outcome.layers,
        "float_layers": list(dict.fromkeys(outcome.float_layers)),
        "recovery": [asdict(row) for row in outcome.recovery],
        "timings_s": outcome.timings_s,
        "cached": list(outcome.cached),
        "latency_ms": outcome.latency_ms,
        "environment": environment(),
    }


def as_text(value: Any) -> str:
    """Return JSON that is valid UTF-8: bytes of file names that are not are written as `\\udce9`."""
    return json.dumps(_encodable(value), indent=1, ensure_ascii=False)


def beside(artifact: Path) -> Path:
    """Return the path of an artifact's report."""
    return artifact.with_name(f"{artifact.name}.report.json")


def write(report: dict[str, Any], artifact: Path) -> Path:
    """Write a report beside its artifact and return its path."""
    path = beside(artifact)
    text = as_text(report) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text, "utf-8"))
    return path


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, (list, tuple)) else value
