"""Figures as text: one text for one figure, wherever a user meets it."""

from __future__ import annotations

import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from convert.drift import attribution
from convert.drift.comparison import Comparison
from convert.drift.figures import judge, measure
from convert.quantization.schemes import SCHEMES
from convert.reporting import ci, formatting, html
from convert.reporting.outcome import Outcome
from convert.reporting.terminal import print_outcomes, print_report
from convert.statistics.verdict import Limits
from convert.system.machine import environment
from edge_runtime import InputSpec
from tests.convert.comparisons import LABELS, SIX_LABELS, comparison


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (formatting.count(1200), "1,200"),
        (formatting.percent(0.985), "98.50%"),
        (formatting.percent(0.08, 1), "8.0%"),
        (formatting.percent_interval((0.95678, 0.99489)), "[95.68%, 99.49%]"),
        (formatting.probability(0.7), "70.0%"),
        (formatting.points(-0.4), "-0.40 pp"),
        (formatting.points(-0.0001), "0.00 pp"),
        (formatting.points_interval((-2.43, 1.44)), "[-2.43, 1.44]"),
        (formatting.decibel(24.97), "25.0 dB"),
        (formatting.decibel(float("-inf")), "-inf dB"),
        (formatting.megabytes(1_234_560_000), "1,234.6 MB"),
        (formatting.megabytes(41_300), "41 kB"),
        (formatting.milliseconds(17.14), "17.1 ms"),
        (formatting.milliseconds(0.0384), "0.038 ms"),
        (formatting.p_value(0.0625), "0.0625"),
        (formatting.error(0.0434), "0.043"),
        (formatting.flip_kinds(1, 1200), "1 near tie, 1,200 confident"),
    ],
)
def test_a_figure_has_its_unit(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (InputSpec(224, 256, (127, 127, 127), (128, 128, 128)), "(pixel - 127) / 128, RGB, 224 x 256, fit: stretch"),
        (
            InputSpec(9, 9, (1, 2, 3.5), (4, 4, 4), "BGR", fit="crop"),
            "(pixel - (1, 2, 3.5)) / 4, BGR, 9 x 9, fit: crop",
        ),
        (InputSpec(9, 9, (0,), (255,), channels=1), "(pixel - 0) / 255, grey, 9 x 9, fit: stretch"),
    ],
)
def test_how_images_are_prepared_is_a_formula(spec: InputSpec, expected: str) -> None:
    assert formatting.prepared_text(spec.to_json()) == expected


def test_only_differences_have_a_sign() -> None:
    assert [formatting.gain(value) for value in (-1200, 0, 3)] == ["-1,200", "0", "+3"]


@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        (SIX_LABELS, ["agreement, top-5", "top-5", "top-5 drop"]),
        (SIX_LABELS[:5], []),
        (LABELS, []),
    ],
)
def test_top_5_is_spoken_of_where_there_are_more_than_five_classes(labels: tuple[str, ...], rows: list[str]) -> None:
    drift = measure(comparison([0] * 20, [0] * 19 + [1], [0] * 20, labels=labels)).to_json()
    assert drift["top5_candidate"] is not None, "programs are told anyway"
    assert [name for name, _ in formatting.drift_rows(drift) if "top-5" in name] == rows


def test_what_is_missing_is_a_dash() -> None:
    assert formatting.percent(None) == formatting.points(None) == formatting.milliseconds(None) == formatting.DASH


@pytest.mark.parametrize("value", [None, float("inf")], ids=["as in a report", "as measured"])
def test_an_infinite_sqnr_reads_equal_outputs(value: float | None) -> None:
    assert formatting.decibel(value) == "equal outputs"


class Text(HTMLParser):
    """The text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)


def drift_report(compared: Comparison) -> dict[str, Any]:
    """What `irv2-drift` reports of two networks."""
    drift = measure(compared)
    return {
        "artifact": {"path": "net.tflite", "bytes": 59_560_482, "sha256": "e" * 64},
        "sampling": {"available": len(compared)},
        "environment": environment(),
        "drift": drift.to_json(),
        "gate": judge(drift, Limits()).to_json(),
        "blame": attribution.conversion(None, drift),
    }


def shown(compared: Comparison, tmp_path: Path) -> dict[str, str]:
    """Every place in which a user reads of a comparison -> what stands there."""
    report = drift_report(compared)
    drift = measure(compared)
    outcome = Outcome(SCHEMES["int8"], Path("net.tflite"), 59_560_482, "e" * 64, drift, judge(drift, Limits()), {})
    checked, converted = io.StringIO(), io.StringIO()
    print_report(Console(file=checked, width=160), report)
    print_outcomes(Console(file=converted, width=160), [outcome])
    ci.write_junit(tmp_path / "drift.xml", [report])
    return {
        "irv2-drift": checked.getvalue(),
        "irv2-convert": converted.getvalue(),
        "page": " ".join(" ".join(Text(html.render(report, compared)).pieces).split()),
        "JUnit": (tmp_path / "drift.xml").read_text("utf-8"),
        "step summary": ci.step_summary(report).replace("\\", ""),
    }


CHANGED = comparison([0] * 1000, [0] * 985 + [1] * 15, [0] * 990 + [1] * 10, sure=[0.9] * 990 + [0.3] * 10)
EVERYWHERE = ("irv2-drift", "irv2-convert", "page", "JUnit", "step summary")
WITH_REASONS = ("irv2-drift", "irv2-convert", "page", "step summary")
"""JUnit has reasons for failures only."""
AFTER_A_DRIFT_CHECK = ("irv2-drift", "page", "JUnit", "step summary")


@pytest.mark.parametrize(
    ("fact", "places"),
    [
        ("98.50%", EVERYWHERE),
        ("[97.54%, 99.09%]", EVERYWHERE),
        ("-0.50 pp", EVERYWHERE),
        ("[-1.28, 0.28]", EVERYWHERE),
        ("99.00%", EVERYWHERE),
        ("99.50%", EVERYWHERE),
        ("at least 95.00%", WITH_REASONS),
        ("at most 2.00 pp", WITH_REASONS),
        ("1,000", EVERYWHERE),
        ("10 near ties, 5 confident", AFTER_A_DRIFT_CHECK),
        ("99.49% [98.82%, 99.78%] of 990 images", EVERYWHERE),
        ("SQNR of the logits", EVERYWHERE),
    ],
)
def test_one_fact_has_one_text(fact: str, places: tuple[str, ...], tmp_path: Path) -> None:
    """Of 1,000 answers 15 changed; by hand Wilson's intervals of 0.985 and 985/990, Agresti and Min's of the drop."""
    texts = shown(CHANGED, tmp_path)
    assert [place for place in places if fact not in texts[place]] == []


@pytest.mark.parametrize("place", EVERYWHERE)
def test_limits_are_required_or_allowed(place: str, tmp_path: Path) -> None:
    """Of answers that fail, so that JUnit has its reasons, too."""
    text = shown(comparison([0] * 200, [0] * 100 + [1] * 100, [0] * 200), tmp_path)[place]
    assert "at least 95.00% required" in text
    assert "at most 2.00 pp allowed" in text
    assert "wanted" not in text


def test_what_an_sqnr_is_of_reads_the_same_everywhere(tmp_path: Path) -> None:
    """Answers in 256 steps tell little of the logits: their SQNR has another name."""
    reference, candidate = CHANGED.reference, replace(CHANGED.candidate, step=1 / 256)
    texts = shown(Comparison(reference, candidate, CHANGED.true_answers), tmp_path)
    assert [place for place in EVERYWHERE if "SQNR of answers in steps of 0.39%" not in texts[place]] == []
    assert [place for place in EVERYWHERE if "SQNR of the logits" in texts[place]] == []


def test_equal_outputs_read_the_same_everywhere(tmp_path: Path) -> None:
    texts = shown(comparison([0, 1] * 10, [0, 1] * 10, [0, 1] * 10), tmp_path)
    assert [place for place in EVERYWHERE if "equal outputs" not in texts[place]] == []
    assert not [place for place in EVERYWHERE if "inf" in texts[place].split() or "∞" in texts[place]]


def test_a_small_error_is_no_zero(tmp_path: Path) -> None:
    texts = shown(comparison([0] * 20, [0] * 20, [0] * 20), tmp_path)
    assert all("largest probability error" in texts[place].lower() for place in AFTER_A_DRIFT_CHECK)
    assert formatting.error(0.00012) == "0.00012"
