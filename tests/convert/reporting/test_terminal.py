"""What commands print of conversions and of drift checks."""

from __future__ import annotations

import io
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from convert.audit.islands import FloatIsland
from convert.drift import attribution
from convert.drift.comparison import Comparison
from convert.drift.figures import Drift, judge
from convert.drift.predictions import Predictions
from convert.quantization.bias_range import RaisedScales
from convert.reporting import html
from convert.reporting.outcome import Outcome
from convert.reporting.terminal import print_failing_limits, print_outcomes, print_report, print_verdicts
from convert.statistics.verdict import Limits
from tests.convert.reporting.outcomes import measured, outcome


def printed(*outcomes: Outcome) -> str:
    text = io.StringIO()
    print_outcomes(Console(file=text, width=160), outcomes)
    return text.getvalue()


def report_of(drift: Drift) -> dict[str, Any]:
    """The parts of a drift report that are printed."""
    steps = attribution.conversion(121.3, drift)
    return {"drift": drift.to_json(), "gate": judge(drift, Limits()).to_json(), "blame": steps}


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


def last_lines(*outcomes: Outcome) -> list[str]:
    return printed(*outcomes).split("\n\n")[-1].splitlines()


def test_the_last_lines_are_what_a_user_wants() -> None:
    fast = replace(outcome(drift=measured(1)), latency_ms=2.0, float_latency_ms=6.0)
    named = replace(fast, path=Path("build/mine.int8.tflite"))
    verdict, report, advice = last_lines(named)
    assert verdict == "pass: build/mine.int8.tflite, 62.0 MB, 2.0 ms per image, 3.0 times as fast as float (6.0 ms)"
    assert report == f"report: {html.beside(named.path)}"
    assert advice == "next:   irv2-predict build/mine.int8.tflite IMAGE"


def test_the_next_command_has_an_image_of_the_user_s_and_can_be_pasted() -> None:
    names = ("cat", "dog")
    answers = Predictions((Path.cwd() / "my photos/cat/1.jpg",), np.array([[0.9, 0.1]], np.float32), names)
    found = replace(
        outcome(drift=measured(1)), path=Path("out/a b.tflite"), compared=Comparison(answers, answers, None)
    )
    line = last_lines(found)[-1].removeprefix("next: ")
    assert shlex.split(line) == ["irv2-predict", "out/a b.tflite", "my photos/cat/1.jpg"]


def test_what_to_do_next_depends_on_the_verdict() -> None:
    passed, failed, unsure = outcome("int8", measured(1)), outcome("int8", measured(60)), outcome("int8", measured(3))
    assert "--recover" in last_lines(failed)[-1]
    assert "more images to --validation" in last_lines(unsure)[-1]
    assert "--recover" in last_lines(unsure, failed)[-1], "the worst counts"
    assert last_lines(failed, replace(passed, path=Path("good.tflite")))[-1].startswith(
        "next:   irv2-predict good.tflite"
    )
    assert last_lines(outcome("none"))[0].startswith("not measured: ")


def test_layers_are_advised_to_stay_in_float_where_int8_failed_and_not_where_images_are_too_few() -> None:
    layers = [{"name": "conv", "operator": "CONV_2D", "dtype": "int8", "sqnr_db": 9.0, "own_sqnr_db": 9.0}]
    failed, unsure = (replace(outcome("int8", measured(wrong)), layers=layers) for wrong in (60, 3))
    assert "--quantize mixed --keep-float '^conv$'" in printed(failed)
    assert "keep-float" not in printed(unsure)


def test_the_verdict_is_coloured_unless_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(**variables: str) -> str:
        for name in ("FORCE_COLOR", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm-256color", **variables}.items():
            monkeypatch.setenv(name, value)
        text = io.StringIO()
        print_verdicts(Console(file=text, width=160), [outcome("int8", measured(60))])
        return text.getvalue()

    assert verdict(FORCE_COLOR="1").startswith("\x1b[1;31mfail\x1b[0m: ")
    assert "31m" not in verdict(FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b" not in verdict()


def test_a_limit_that_is_not_kept_for_sure_has_a_line() -> None:
    text = io.StringIO()
    print_failing_limits(Console(file=text, width=40), [outcome("int8", measured(60)), outcome("float16", measured(0))])
    lines = text.getvalue().splitlines()
    assert lines
    assert {line.split(": ")[0] for line in lines} == {"int8"}
    assert "top-1 agreement" in lines[0]


def test_a_warning_stands_above_the_verdict_once() -> None:
    doubtful = replace(outcome(drift=measured()), warnings=("check --[preprocessing]",))
    lines = printed(doubtful, doubtful).splitlines()
    assert lines.count("warning: check --[preprocessing]") == 1
    assert lines.index("warning: check --[preprocessing]") < next(
        i for i, line in enumerate(lines) if "report:" in line
    )
    file = io.StringIO()
    print_report(Console(file=file, width=200), doubtful.to_json())
    assert "\nwarning: check --[preprocessing]\n" in file.getvalue()


def test_narrow_terminals_do_not_cut_figures() -> None:
    text = io.StringIO()
    outcomes = [outcome("int8", measured(1)), outcome("float16", measured(1)), outcome("dynamic", measured(1))]
    print_outcomes(Console(file=text, width=80), outcomes)
    assert "…" not in text.getvalue()
    assert text.getvalue().split("int8: pass")[0].count("97.22%") == 6


def test_drift_alone_begins_with_its_verdict() -> None:
    text = io.StringIO()
    drift = measured(3)
    print_report(Console(file=text, width=120), report_of(drift))
    first, *rest = text.getvalue().splitlines()
    assert first == "inconclusive on 200 images"
    assert any("100.00% reference, 98.50% candidate" in line for line in rest)
    assert any(line.split() == ["changed", "answers", "3", "(0", "near", "ties,", "3", "confident)"] for line in rest)


@pytest.mark.parametrize(("flips", "interval", "hinted"), [(3, "anytime", 1), (3, "fixed", 0), (0, "anytime", 0)])
def test_an_inconclusive_run_that_could_stop_early_names_the_narrower_intervals(
    flips: int, interval: str, hinted: int
) -> None:
    text = io.StringIO()
    report = report_of(measured(flips))
    report["drift"]["interval"] = interval
    print_report(Console(file=text, width=120), report)
    assert text.getvalue().count("--no-stop-early") == hinted


def test_changed_answers_beyond_the_listed_ones_are_counted() -> None:
    text = io.StringIO()
    drift = measured(150)
    print_report(Console(file=text, width=120), report_of(drift))
    assert any(line.split()[:3] == ["changed", "answers", "150"] for line in text.getvalue().splitlines())


def test_what_labels_tell_is_shown() -> None:
    text = io.StringIO()
    drift = measured(3)
    print_report(Console(file=text, width=120), report_of(drift))
    assert "0.25 (3 answers lost, 0 gained)" in text.getvalue(), "McNemar: 2 / 2^3"
    assert "10.00% reference, 11.05% candidate" in text.getvalue()
    assert "3 x cat -> dog" in text.getvalue()


def test_what_is_left_in_float_and_raised_scales_are_told() -> None:
    island = FloatIsland(("EXP", "LOG"), "block_1/[mish]", ("a",), ("b",), 0.5)
    left, raised = RaisedScales(3, 4000, {"conv": 3}), replace(outcome(), float_islands=[island])
    text = printed(replace(raised, raised=left))
    assert "EXP, LOG at block_1/[mish]: 0.50 ms an image" in text
    assert "3 of 4,000 filters have weights too small for their bias: their scales were raised" in text
    assert "left in float" not in printed(outcome())
    assert "scales raised" not in printed(outcome())
