"""Artifacts of the tiny network with a card that says how they were made and measured, and reports beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from convert.drift.figures import Drift, judge
from convert.quantization.schemes import SCHEMES
from convert.reporting.outcome import Outcome, write_report
from convert.statistics.verdict import Limits
from edge_runtime.hashing import file_sha256
from tests.convert.reporting.outcomes import measured
from tests.edge_runtime.tiny_model import tiny_artifact

MANIFEST = "b0f9" * 16
BUILD = {
    "calibrator": "mse",
    "limits": {"max_drop_pp": 2.0, "min_agreement": 0.95, "max_top5_drop_pp": 2.0},
    "validation_manifest_sha256": MANIFEST,
}
LAYERS = [
    {"name": "conv", "operator": "CONV_2D", "dtype": "int8", "sqnr_db": 40.0, "own_sqnr_db": 41.0},
    {"name": "dense", "operator": "FULLY_CONNECTED", "dtype": "int8", "sqnr_db": 30.0, "own_sqnr_db": 33.0},
]


def artifact(
    path: Path, drift: Drift | None = None, scheme: str = "int8", build: dict[str, Any] | None = None, **card: Any
) -> Path:
    """Write an artifact whose card holds `drift` and `build`, without a report; more keys of the card as given."""
    parts = tiny_artifact()
    gate = None if drift is None else judge(drift, Limits())
    summary = None if drift is None or gate is None else {**drift.summary(), "verdict": gate.verdict}
    made = {"weights_sha256": "7c" * 32, "keras_sqnr_db": 124.6, "build": BUILD | (build or {})}
    described = replace(parts.card, scheme=scheme, drift=summary, **{"source": made, **card})
    return replace(parts, card=described).signed().write(path)


def with_report(path: Path, drift: Drift | None = None, scheme: str = "int8", **more: Any) -> Path:
    """Write the report beside an artifact, with more of its keys as given, and return the artifact's path."""
    gate = None if drift is None else judge(drift, Limits())
    outcome = Outcome(SCHEMES[scheme], path, path.stat().st_size, file_sha256(path), drift, gate, {}, latency_ms=12.5)
    write_report({**outcome.to_json(), "layers": LAYERS, **more}, path)
    return path


def report_of(path: Path) -> dict[str, Any]:
    """The report beside an artifact."""
    return dict(json.loads(path.with_name(f"{path.name}.report.json").read_text("utf-8")))


FEW_CHANGES, MANY_CHANGES = measured(2), measured(40)
