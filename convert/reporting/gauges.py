"""An interval and its limit as a strip: all positions in percent of the strip's width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convert.reporting.formatting import Report, percent, points

MARGIN = 0.12
"""Fraction of the strip left free at both ends."""


@dataclass(frozen=True)
class Gauge:
    """A measured value, its interval and its limit.

    Attributes:
        name: what was measured.
        limit: the limit as text.
        low, high, value_at, limit_at: positions of the interval's ends, the value and the limit, 0 to 100.
        more_is_better: whether values right of the limit are allowed, else those left of it.
    """

    name: str
    limit: str
    low: float
    high: float
    value_at: float
    limit_at: float
    more_is_better: bool


@dataclass(frozen=True)
class Limited:
    """A figure that a gate may limit.

    Attributes:
        name: what is measured.
        value, interval: keys in a report's `drift`.
        limit: key in a report's `gate.limits`.
        text: the limit as text.
        more_is_better: whether the limit is a lower one.
    """

    name: str
    value: str
    interval: str
    limit: str
    text: Callable[[float], str]
    more_is_better: bool


def _at_least(fraction: float) -> str:
    return f"at least {percent(fraction)}"


def _at_most(drop_pp: float) -> str:
    return f"at most {points(drop_pp)}"


LIMITED = (
    Limited("Top-1 agreement", "agreement_top1", "agreement_ci95", "min_agreement", _at_least, True),
    Limited("Top-1 drop", "top1_drop_pp", "top1_drop_ci95_pp", "max_drop_pp", _at_most, False),
    Limited("Top-5 drop", "top5_drop_pp", "top5_drop_ci95_pp", "max_top5_drop_pp", _at_most, False),
)


def gauges(report: Report) -> list[Gauge]:
    """Return a gauge for each limit of the report's gate whose figure has an interval in its drift."""
    drift, limits = report.get("drift") or {}, (report.get("gate") or {}).get("limits") or {}
    found = []
    for limited in LIMITED:
        interval, limit = drift.get(limited.interval), limits.get(limited.limit)
        if interval is not None and limit is not None:
            value_at, low, high, limit_at = _places(drift[limited.value], *interval, limit)
            found.append(
                Gauge(limited.name, limited.text(limit), low, high, value_at, limit_at, limited.more_is_better)
            )
    return found


def _places(*numbers: float) -> list[float]:
    """Return positions on a strip that just shows all numbers."""
    left, right = min(numbers), max(numbers)
    width = (right - left) or 1.0
    return [round(100 * (MARGIN + (1 - 2 * MARGIN) * (x - left) / width), 2) for x in numbers]
