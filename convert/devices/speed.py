"""Which device of several is the slowest, and which takes far longer than the others."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

SLOW = 3.0
"""A device whose median is so many times that of the others is said to be slow."""


def slow_devices(p50_ms: Mapping[str, float]) -> dict[str, float]:
    """Return those that take `SLOW` times the median of the others, and how many times."""
    found = {}
    for name, time in p50_ms.items():
        others = [each for other, each in p50_ms.items() if other != name]
        if others and time >= SLOW * median(others):
            found[name] = time / median(others)
    return found


def speed_remarks(p50_ms: Mapping[str, float]) -> list[str]:
    """Return a line for each slow device, and one that names the slowest; none for a device alone."""
    if len(p50_ms) < 2:
        return []
    slowest = max(p50_ms, key=lambda name: p50_ms[name])
    slow = [f"{name} takes {factor:.1f} times as long as the others" for name, factor in slow_devices(p50_ms).items()]
    return [*slow, f"slowest: {slowest}, p50 {p50_ms[slowest]:.1f} ms"]
