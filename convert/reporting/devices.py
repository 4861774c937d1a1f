"""What the report of a run on devices says beside the drift: of one device in rows, of several in a row each."""

from __future__ import annotations

from typing import Any

from convert.reporting.formatting import Report, count, megabytes, milliseconds, percent
from convert.statistics.verdict import EXIT_CODES

ERROR_CODE = 1
WORST_FIRST = (3, ERROR_CODE, 4)
"""Exit codes of devices: that one fails is certain, whatever another would have said that did not answer."""
PERCENTILES = ("p50", "p95", "p99")
FLEET_COLUMNS = ("device", "verdict", "agreement", "other answers than here", *PERCENTILES, "first", "notes")


def exit_code(report: Report) -> int:
    """Return the exit code of a drift check; of several devices that of the worst, see `WORST_FIRST`."""
    devices = report.get("fleet", {"devices": [report]})["devices"]
    codes = {ERROR_CODE if each.get("error") else EXIT_CODES[each["gate"]["verdict"]] for each in devices}
    return next((code for code in WORST_FIRST if code in codes), 0)


def device_reports(report: Report) -> list[Report]:
    """Return a report for each of several devices, which has `address` and `error`, too; of one its own report."""
    return [{**report, **each} for each in report["fleet"]["devices"]] if "fleet" in report else [report]


def fleet_rows(report: Report) -> list[dict[str, str]]:
    """Return for each device that answered its cells, by `FLEET_COLUMNS`; none for a report of one device."""
    return [_cells(each) for each in report.get("fleet", {"devices": ()})["devices"] if not each["error"]]


def heading(column: str) -> str:
    """Return a column's name as it stands above it; a percentile is always written small."""
    return column if column in PERCENTILES else column.capitalize()


def split_address(address: str) -> tuple[str, str]:
    """Return an address in two parts, between which alone a line may break: to the user, and HOST:PORT."""
    user, at, host = address.rpartition("@")
    return user + at, host


def fleet_errors(report: Report) -> list[str]:
    """Return a line for each device that did not answer."""
    return [each["error"] for each in report.get("fleet", {"devices": ()})["devices"] if each["error"]]


def fleet_remarks(report: Report) -> list[str]:
    """Return which devices are the odd ones, a line each."""
    return list(report.get("fleet", {"remarks": ()})["remarks"])


def device_rows(device: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and texts of a report's `device`, for terminal, page and CI; none for an empty one."""
    if not device:
        return []
    receipt, times, startup = device["receipt"], device["latency_ms"], device["startup_ms"]
    before, after = device["before"], device["after"]
    peak = after["peak_memory_bytes"]
    rows = [
        ("device", f"{device['address']}, {device['machine']}, Python {device['python']}"),
        (
            "device ran",
            f"{receipt['engine']} {receipt['version']} on {receipt['device']}, {receipt['threads']} threads",
        ),
        ("not as asked", receipt["fallback"] or ""),
        ("host to device", _differences(device)),
        ("time of an image", ", ".join(f"{name} {milliseconds(value)}" for name, value in times.items())),
        ("start-up", ", ".join(f"{name} {milliseconds(value)}" for name, value in startup.items())),
        ("peak memory", "" if peak is None else megabytes(peak)),
        ("temperature", _degrees(before["temperature_c"], after["temperature_c"])),
        (
            "clock",
            _megahertz(before["clock_khz"], after["clock_khz"]) + (", throttled" if device["throttled"] else ""),
        ),
        ("connections", "" if device["connections"] == 1 else count(device["connections"])),
    ]
    return [(name, text) for name, text in rows if text]


def _cells(of_device: dict[str, Any]) -> dict[str, str]:
    device, drift = of_device["device"], of_device["drift"]
    notes = {
        "throttled": device["throttled"],
        "not on its delegate": device["receipt"]["fallback"],
        f"{device['connections']} connections": device["connections"] > 1,
    }
    texts = (
        of_device["address"],
        of_device["gate"]["verdict"],
        percent(drift["agreement_top1"]),
        f"{count(device['answers_different'])} of {count(device['images'])}",
        *(milliseconds(device["latency_ms"][key]) for key in (*PERCENTILES, "first")),
        ", ".join(note for note, holds in notes.items() if holds),
    )
    return dict(zip(FLEET_COLUMNS, texts, strict=True))


def _differences(device: dict[str, Any]) -> str:
    rows, pixels = device["answers_different"], device["pixels_different"]
    if not rows and not pixels:
        return "every answer is the same to the last bit"
    cause = (
        "the kernels differ, all prepared pixels are equal" if not pixels else f"{count(pixels)} are prepared otherwise"
    )
    largest = f", by {device['largest_difference']:.2g} in {device['largest_in']} at most" if rows else ""
    return f"{count(rows)} of {count(device['images'])} images differ{largest}: {cause}"


def _megahertz(before: int | None, after: int | None) -> str:
    return "" if before is None or after is None else f"{before / 1000:,.0f} -> {after / 1000:,.0f} MHz"


def _degrees(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{before:g} -> {after:g} °C"
