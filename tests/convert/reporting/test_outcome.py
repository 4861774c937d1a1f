"""The report of an outcome as JSON, strict and beside its artifact; and the exit code of several verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from convert.drift.figures import Drift
from convert.reporting.outcome import exit_code, write_report
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS, Gate, Limits
from tests.convert.reporting.outcomes import measured, outcome


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 0),
        ([None], 0),
        ([PASS], 0),
        ([FAIL], 3),
        ([INCONCLUSIVE], 4),
        ([PASS, INCONCLUSIVE], 4),
        ([INCONCLUSIVE, FAIL], 3),
        ([FAIL, PASS, INCONCLUSIVE], 3),
        ([None, INCONCLUSIVE, PASS], 4),
    ],
)
def test_the_worst_verdict_is_the_exit_code(verdicts: list[str | None], code: int) -> None:
    gates = [verdict and Gate(verdict, Limits(), []) for verdict in verdicts]
    assert exit_code(gates) == code  # type: ignore[arg-type]


def test_the_report_has_the_contracted_keys() -> None:
    value = outcome(drift=measured()).to_json()
    assert list(value) == [
        "scheme", "artifact", "preprocessing", "warnings", "drift", "blame", "gate", "source", "calibration", "layers",
        "float_layers", "float_islands", "raised_scales", "recovery", "timings_s", "cached", "latency_ms",
        "float_latency_ms", "environment",
    ]  # fmt: skip
    assert set(value["artifact"]) == {"path", "bytes", "sha256"}
    assert set(value["gate"]) == {"verdict", "limits", "reasons"}
    assert set(value["drift"]) == {
        "images", "classes", "labelled", "interval",
        "top1_reference", "top1_candidate", "top1_lost", "top1_gained", "top1_drop_pp", "top1_drop_ci95_pp",
        "top1_drop_p_value", "top1_drop_bootstrap95_pp",
        "top5_reference", "top5_candidate", "top5_lost", "top5_gained", "top5_drop_pp", "top5_drop_ci95_pp",
        "ece_reference", "ece_candidate",
        "agreement_top1", "agreement_ci95", "agreement_top5", "flips_near_tie", "flips_confident",
        "sqnr_db", "cosine_mean", "kl_mean", "max_abs_error", "flips", "per_class", "confusion",
        "agreement_clear", "agreement_clear_ci95", "clear_images", "clear_margin",
        "sqnr_of", "sqnr_images", "answer_step", "answers_sqnr_db",
    }  # fmt: skip
    assert value["gate"]["limits"] == {"max_drop_pp": 2.0, "min_agreement": 0.95, "max_top5_drop_pp": 2.0}


@pytest.mark.parametrize("drift", [None, measured(0), measured(3), measured(3, labelled=False)])
def test_reports_are_strict_json_beside_their_artifact(drift: Drift | None, tmp_path: Path) -> None:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no JSON")

    path = write_report(outcome(drift=drift).to_json(), tmp_path / "net.int8.tflite")
    assert path == tmp_path / "net.int8.tflite.report.json"
    value = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    assert (value["drift"] is None) == (value["gate"] is None) == (drift is None)
