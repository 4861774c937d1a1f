"""Several devices in one report: the exit code, and the row of each."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from convert.reporting import html
from convert.reporting.devices import device_rows, exit_code, fleet_errors, fleet_rows
from convert.reporting.terminal import print_report
from tests.convert.comparisons import DEVICE, comparison, report

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


LONG, SHORT = "ssh://tester@raspberrypi-kitchen.local:22022", "ssh://192.168.178.123:40123"


def fleet() -> dict[str, Any]:
    """A report of two devices."""
    compared = comparison([0] * 200, [0] * 197 + [1] * 3, [0] * 198 + [1] * 2)
    value = report(compared)
    of_each = [
        {"address": address, "error": None, "device": {**DEVICE, "address": address}}
        | {key: value[key] for key in ("drift", "gate", "blame")}
        for address in (LONG, SHORT)
    ]
    return value | {"device": of_each[0]["device"], "fleet": {"devices": of_each, "remarks": []}}


@pytest.mark.parametrize("width", [40, 80, 120, 160])
def test_no_line_of_a_terminal_breaks_an_address(width: int) -> None:
    text = io.StringIO()
    print_report(Console(file=text, width=width), fleet())
    assert LONG in text.getvalue()
    assert SHORT in text.getvalue()
    assert text.getvalue().count("21.3 ms") == 2
    assert "…" not in text.getvalue()


def test_the_page_breaks_an_address_before_its_host_alone_and_writes_percentiles_small() -> None:
    page = html.render(fleet(), None)
    assert '<th scope="row">ssh://tester@<wbr><span class="host">raspberrypi-kitchen.local:22022</span>' in page
    assert '<th scope="row"><wbr><span class="host">ssh://192.168.178.123:40123</span>' in page
    assert "<th>Verdict</th><th>Agreement</th><th>Other answers than here</th><th>p50</th><th>p95</th>" in page
    assert 'data-label="p50"' in page


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
