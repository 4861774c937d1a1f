"""Turns, medians, ratios, and the table they end in."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def comparison(benchmarks: Path) -> ModuleType:
    return import_module("comparison")


def usage(comparison: ModuleType, seconds: float, megabytes: float, out: str = "") -> Any:
    return comparison.Usage(0, seconds, int(megabytes * 1e6), out, "")


def says(comparison: ModuleType, name: str, log: Path, code: str = "") -> Any:
    """A contender that notes its turn and then runs `code`."""
    noting = f"open({str(log)!r}, 'a').write({name!r}); {code}"
    return comparison.Contender(name, (sys.executable, "-c", noting))


def test_medians_of_time_and_of_memory_are_taken_apart(comparison: ModuleType) -> None:
    found = [usage(comparison, s, mb) for s, mb in ((1.0, 900), (9.0, 100), (2.0, 500))]
    row = comparison.medians("x", found, lambda one: one.seconds)
    assert (row.seconds, row.peak_bytes) == (2.0, 500e6)


def test_contenders_take_turns(comparison: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    seen = "import time; time.sleep(0.3)"  # long enough to be looked at on a busy machine
    work = comparison.Work("t", "n", tuple(says(comparison, name, log, seen) for name in "ABC"), repeats=3)
    rows = comparison.in_turns(work, lambda line: None)
    assert log.read_text() == "ABCABCABC"
    assert [row.name for row in rows] == ["A", "B", "C"]
    assert all(row.seconds > 0 and row.peak_bytes > 0 for row in rows)


def test_who_takes_fewer_turns_is_marked(comparison: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    slow = comparison.Contender("B", says(comparison, "B", log).command, turns=1)
    work = comparison.Work("t", "n", (says(comparison, "A", log), slow), repeats=2)
    rows = comparison.in_turns(work, lambda line: None)
    assert log.read_text() == "ABA"
    first, last = comparison.markdown(work, rows).splitlines()[-2:]
    assert first.startswith("| A |")
    assert last.startswith("| B (1 of 2 turns) |")


def test_who_fails_is_named_and_stays_out(comparison: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    failing = says(comparison, "B", log, "import sys; sys.exit('no such operator | X')")
    told: list[str] = []
    work = comparison.Work("t", "n", (says(comparison, "A", log), failing), repeats=2)
    rows = comparison.in_turns(work, told.append)
    assert log.read_text() == "ABA"
    assert rows[1].failure == "exit code 1: no such operator | X"
    assert comparison.markdown(work, rows).splitlines()[-1] == "| B | exit code 1: no such operator / X | | | |"
    assert any("no such operator" in line for line in told)


def test_a_fast_wrong_answer_does_not_count(comparison: ModuleType, tmp_path: Path) -> None:
    def check(one: Any) -> None:
        if comparison.last_json(one)["class"] != 8:
            raise ValueError("class 7, not 8")

    wrong = says(comparison, "A", tmp_path / "log", """print('{"class": 7, "ms": 1}')""")
    rows = comparison.in_turns(comparison.Work("t", "n", (wrong,), 1, check=check), lambda line: None)
    assert rows[0].failure == "wrong answer: class 7, not 8"


def test_a_script_reports_in_its_last_line(comparison: ModuleType) -> None:
    noisy = usage(comparison, 9, 1, 'Captures: x\n{"class": 8, "ms": 12.5}\n')
    assert comparison.reported_seconds(noisy) == 0.0125


def test_ratios_are_to_the_first_row(comparison: ModuleType) -> None:
    work = comparison.Work("Work", "What it is.", (), 1, shown=lambda seconds: f"{1000 * seconds:.0f} ms")
    rows = [comparison.Row("ours", 0.2, 100e6, turns=1), comparison.Row("theirs", 0.5, 1250e6, turns=1)]
    assert comparison.markdown(work, rows) == (
        "## Work\n\nWhat it is.\n\n"
        "| | time | ratio | peak memory | ratio |\n|---|---|---|---|---|\n"
        "| ours | 200 ms | 1.00 | 100 MB | 1.00 |\n"
        "| theirs | 500 ms | 2.50 | 1,250 MB | 12.50 |\n"
    )


def test_without_a_first_row_there_are_no_ratios(comparison: ModuleType) -> None:
    work = comparison.Work("Work", "", (), 1)
    rows = [comparison.Row("ours", failure="exit code 1: broken"), comparison.Row("theirs", 2, 5e6, turns=1)]
    assert comparison.markdown(work, rows).splitlines()[-1] == "| theirs | 2.0 s |  | 5 MB |  |"


def test_who_needs_what_nobody_left_takes_no_part(comparison: ModuleType, tmp_path: Path) -> None:
    log, asked = tmp_path / "log", list[str]()
    needy = comparison.Contender("B", says(comparison, "B", log).command, needs=tmp_path / "b.onnx")
    work = comparison.Work("t", "n", (says(comparison, "A", log), needy), 2, before=lambda: asked.append("once"))
    rows = comparison.in_turns(work, lambda line: None)
    assert log.read_text() == "AA"
    assert asked == ["once"]
    assert comparison.markdown(work, rows).splitlines()[-1] == "| B | not run: b.onnx is missing | | | |"
