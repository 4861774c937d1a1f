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


def gauges(report: Mapping[str, Any]) -> list[Gauge]:
    """One for each limit that the report's gate has and its drift has an interval for."""
    drift, limits = report.get("drift") or {}, (report.get("gate") or {}).get("limits") or {}
    found = []
    if drift.get("agreement_ci95") is not None and limits.get("min_agreement") is not None:
        limit = limits["min_agreement"]
        numbers = (drift["agreement_top1"], *drift["agreement_ci95"], limit)
        found.append(_gauge("Top-1 agreement", f"at least {limit:.2%}", numbers, more_is_better=True))
    if drift.get("top1_drop_ci95_pp") is not None and limits.get("max_drop_pp") is not None:
        limit = limits["max_drop_pp"]
        numbers = (drift["top1_drop_pp"], *drift["top1_drop_ci95_pp"], limit)
        found.append(_gauge("Top-1 drop", f"at most {limit:.2f} pp", numbers, more_is_better=False))
    return found


def _gauge(name: str, limit: str, numbers: tuple[float, ...], more_is_better: bool) -> Gauge:
    """Of value, low, high and limit, in this order."""
    left, right = min(numbers), max(numbers)
    width = (right - left) or 1.0
    value_at, low, high, limit_at = (round(100 * (MARGIN + (1 - 2 * MARGIN) * (x - left) / width), 2) for x in numbers)
    return Gauge(name, limit, low, high, value_at, limit_at, more_is_better)
