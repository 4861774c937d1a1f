"""What the report of a run on a device says beside the drift."""

from __future__ import annotations

from typing import Any

from convert.reporting.formatting import count, megabytes, milliseconds


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
        ("host to device", _differences(device)),
        ("time of an image", ", ".join(f"{name} {milliseconds(value)}" for name, value in times.items())),
        ("start-up", ", ".join(f"{name} {milliseconds(value)}" for name, value in startup.items())),
        ("peak memory", "" if peak is None else megabytes(peak)),
        ("temperature", _change(before["temperature_c"], after["temperature_c"], "°C")),
        (
            "clock",
            _change(before["clock_khz"], after["clock_khz"], "kHz") + (", throttled" if device["throttled"] else ""),
        ),
        ("connections", "" if device["connections"] == 1 else count(device["connections"])),
    ]
    return [(name, text) for name, text in rows if text]


def _differences(device: dict[str, Any]) -> str:
    rows, pixels = device["answers_different"], device["pixels_different"]
    if not rows and not pixels:
        return "every answer is the same to the last bit"
    cause = (
        "the kernels differ, all prepared pixels are equal" if not pixels else f"{count(pixels)} are prepared otherwise"
    )
    largest = f", by {device['largest_difference']:.2g} in {device['largest_in']} at most" if rows else ""
    return f"{count(rows)} of {count(device['images'])} images differ{largest}: {cause}"


def _change(before: float | None, after: float | None, unit: str) -> str:
    return "" if before is None or after is None else f"{before:g} -> {after:g} {unit}"
