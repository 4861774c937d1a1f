"""An interval against its limit, as a strip: where everything lies, in percent of the strip's width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MARGIN = 0.12
"""Of what is shown, left free at both ends."""


@dataclass(frozen=True)
class Gauge:
    """A measured value, its interval and its limit.

    Attributes:
        name: what was measured.
        limit: what is allowed, as text.
        low, high, value_at, limit_at: places of the interval's ends, the value and the limit, 0 to 100.
        more_is_better: whether what lies right of the limit is allowed, else what lies left of it.
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
    """What a gate may limit: its name, keys of value and interval in `drift` and of the limit, and how that reads."""

    name: str
    value: str
    interval: str
    limit: str
    wanted: str
    more_is_better: bool


LIMITED = (
    Limited("Top-1 agreement", "agreement_top1", "agreement_ci95", "min_agreement", "at least {:.2%}", True),
    Limited("Top-1 drop", "top1_drop_pp", "top1_drop_ci95_pp", "max_drop_pp", "at most {:.2f} pp", False),
    Limited("Top-5 drop", "top5_drop_pp", "top5_drop_ci95_pp", "max_top5_drop_pp", "at most {:.2f} pp", False),
)


def gauges(report: Mapping[str, Any]) -> list[Gauge]:
    """One for each limit that the report's gate has and its drift has an interval for."""
    drift, limits = report.get("drift") or {}, (report.get("gate") or {}).get("limits") or {}
    found = []
    for limited in LIMITED:
        interval, limit = drift.get(limited.interval), limits.get(limited.limit)
        if interval is not None and limit is not None:
            numbers = (drift[limited.value], *interval, limit)
            found.append(_gauge(limited.name, limited.wanted.format(limit), numbers, limited.more_is_better))
    return found


def _gauge(name: str, limit: str, numbers: tuple[float, ...], more_is_better: bool) -> Gauge:
    """Of value, low, high and limit, in this order."""
    left, right = min(numbers), max(numbers)
    width = (right - left) or 1.0
    value_at, low, high, limit_at = (round(100 * (MARGIN + (1 - 2 * MARGIN) * (x - left) / width), 2) for x in numbers)
    return Gauge(name, limit, low, high, value_at, limit_at, more_is_better)
