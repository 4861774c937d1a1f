"""Reports for machines and for people, and the exit code of several verdicts."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from convert.drift.comparison import Comparison
from convert.drift.figures import Drift, judge, measure
from convert.drift.predictions import Predictions
from convert.quantization.schemes import SCHEMES
from convert.reporting import outcome as report
from convert.reporting.outcome import Outcome
from convert.statistics.verdict import FAIL, INCONCLUSIVE, PASS, Gate, Limits


def measured(wrong: int = 1, labelled: bool = True) -> Drift:
    """Of 200 answers of one class so many are another in the candidate."""
    classes = np.zeros(200, int)
    rows = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    paths, labels = tuple(Path(f"[bold]{i}.png") for i in range(200)), ("cat", "dog")
    reference = Predictions(paths, rows[classes], labels)
    classes[:wrong] = 1
    candidate = Predictions(paths, rows[classes], labels)
    return measure(Comparison(reference, candidate, [0] * 200 if labelled else None))


def outcome(name: str = "int8", drift: Drift | None = None) -> Outcome:
    gate = None if drift is None else judge(drift, Limits())
    path = Path(f"build/[red]net[/].{name}.tflite")
    return Outcome(SCHEMES[name], path, 62_000_000, "0" * 64, drift, gate, {"lowering": 1.5})


def printed(*outcomes: Outcome) -> str:
    text = io.StringIO()
    report.print_outcomes(Console(file=text, width=160), outcomes)
    return text.getvalue()


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
    assert report.exit_code(gates) == code  # type: ignore[arg-type]


def test_the_report_has_the_contracted_keys() -> None:
    value = report.to_json(outcome(drift=measured()))
    assert list(value) == [
        "scheme", "artifact", "drift", "blame", "gate", "calibration", "layers", "float_layers", "recovery",
        "timings_s", "cached", "latency_ms", "environment",
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
    }  # fmt: skip
    assert value["gate"]["limits"] == {"max_drop_pp": 2.0, "min_agreement": 0.95, "max_top5_drop_pp": 2.0}


@pytest.mark.parametrize("drift", [None, measured(0), measured(3), measured(3, labelled=False)])
def test_reports_are_strict_json_beside_their_artifact(drift: Drift | None, tmp_path: Path) -> None:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no JSON")

    path = report.write_json(report.to_json(outcome(drift=drift)), tmp_path / "net.int8.tflite")
    assert path == tmp_path / "net.int8.tflite.report.json"
    value = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    assert (value["drift"] is None) == (value["gate"] is None) == (drift is None)


def test_every_scheme_has_a_column() -> None:
    text = printed(outcome("int8", measured(1)), outcome("float16", measured(0)), outcome("none"))
    rows = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert all(name in rows["scheme"] for name in ("int8", "float16", "none"))
    assert rows["size"].count("62.0 MB") == 3
    assert "99.50%" in rows["top-1 quantized"]
    assert "100.00%" in rows["top-1 quantized"]
    assert rows["verdict"].split()[1:] == ["pass", "pass", "not", "measured"]


def test_the_order_of_schemes_does_not_matter() -> None:
    """The first one may not be measured, or without labels."""
    printed(outcome("none"), outcome("int8", measured(1)))
    text = printed(outcome("none"), outcome("int8", measured(1, labelled=False)))
    assert "agreement" in text


def test_names_are_printed_as_they_are() -> None:
    """Rich reads square brackets as markup."""
    assert "build/[red]net[/].int8.tflite" in printed(outcome(drift=measured()))


def test_reasons_are_printed_in_one_line_each() -> None:
    lines = printed(outcome(drift=measured(60))).splitlines()
    assert [line for line in lines if line.startswith("int8: fail: top-1 agreement 70.00%")]
    assert [line for line in lines if line.startswith("int8: fail: top-1 drop 30.00 pp")]


def test_narrow_terminals_do_not_cut_figures() -> None:
    text = io.StringIO()
    outcomes = [outcome("int8", measured(1)), outcome("float16", measured(1)), outcome("dynamic", measured(1))]
    report.print_outcomes(Console(file=text, width=80), outcomes)
    assert "…" not in text.getvalue()
    assert text.getvalue().split("int8: pass")[0].count("97.22%") == 3


def test_drift_alone_begins_with_its_verdict() -> None:
    text = io.StringIO()
    drift = measured(3)
    report.print_drift(Console(file=text, width=120), drift, judge(drift, Limits()))
    first, *rest = text.getvalue().splitlines()
    assert first == "inconclusive on 200 images"
    assert any("100.00% reference, 98.50% candidate" in line for line in rest)
    assert any(line.split() == ["flipped", "answers", "3", "(0", "near-ties,", "3", "confident)"] for line in rest)


def test_flips_beyond_the_listed_ones_are_counted() -> None:
    text = io.StringIO()
    drift = measured(150)
    report.print_drift(Console(file=text, width=120), drift, judge(drift, Limits()))
    assert any(line.split()[:3] == ["flipped", "answers", "150"] for line in text.getvalue().splitlines())


def test_what_labels_tell_is_shown() -> None:
    text = io.StringIO()
    drift = measured(3)
    report.print_drift(Console(file=text, width=120), drift, judge(drift, Limits()))
    assert "0.25 (3 answers lost, 0 gained)" in text.getvalue(), "McNemar: 2 / 2^3"
    assert "10.00% reference, 11.05% candidate" in text.getvalue()
    assert "3 x cat -> dog" in text.getvalue()
