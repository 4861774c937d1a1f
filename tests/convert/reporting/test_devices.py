"""Several devices in one report: the exit code, and the row of each."""

from __future__ import annotations

from typing import Any

import pytest

from convert.reporting.devices import device_rows, exit_code, fleet_errors, fleet_rows

BAD = {"error": "it is gone"}


def judged(verdict: str) -> dict[str, Any]:
    return {"error": None, "gate": {"verdict": verdict}}


@pytest.mark.parametrize(
    ("devices", "code"),
    [
        ([judged("pass"), judged("pass")], 0),
        ([judged("pass"), judged("inconclusive")], 4),
        ([judged("inconclusive"), BAD], 1),
        ([BAD, judged("fail")], 3),
        ([judged("inconclusive"), judged("fail")], 3),
    ],
)
def test_the_worst_device_decides(devices: list[dict[str, Any]], code: int) -> None:
    assert exit_code({"gate": {"verdict": "pass"}, "fleet": {"devices": devices}}) == code


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 3), ("inconclusive", 4)])
def test_of_one_report_its_verdict_decides(verdict: str, code: int) -> None:
    assert exit_code({"gate": {"verdict": verdict}}) == code


def test_a_report_without_a_fleet_has_no_rows() -> None:
    assert (fleet_rows({}), fleet_errors({})) == ([], [])


def test_a_row_tells_what_was_not_as_it_should_be() -> None:
    device = {
        "answers_different": 3, "images": 1500, "connections": 2, "throttled": True, "receipt": {"fallback": "it lies"},
        "latency_ms": {"p50": 10.0, "p95": 11.0, "p99": 1200.0, "first": 40.0},
    }  # fmt: skip
    of_device = {**judged("pass"), "address": "ssh://pi", "drift": {"agreement_top1": 0.99}, "device": device}
    (row,) = fleet_rows({"fleet": {"devices": [of_device]}})
    assert list(row.values()) == [
        "ssh://pi", "pass", "99.00%", "3 of 1,500", "10.0 ms", "11.0 ms", "1,200.0 ms", "40.0 ms",
        "throttled, not on its delegate, 2 connections",
    ]  # fmt: skip


def test_a_device_that_grew_hot_says_so() -> None:
    device = {
        "address": "ssh://pi", "machine": "aarch64", "python": "3.11.2", "answers_different": 0, "pixels_different": 0,
        "receipt": {"engine": "litert", "version": "2.3.0", "device": "cpu", "threads": 4, "fallback": None},
        "latency_ms": {"p50": 10.0}, "startup_ms": {"model": 40.0}, "connections": 1, "throttled": True,
        "before": {"temperature_c": 45.25, "clock_khz": 1_500_000},
        "after": {"temperature_c": 82.0, "clock_khz": 600_000, "peak_memory_bytes": None},
    }  # fmt: skip
    rows = dict(device_rows(device))
    assert rows["temperature"] == "45.25 -> 82 °C"
    assert rows["clock"] == "1,500 -> 600 MHz, throttled"
    assert "peak memory" not in rows
