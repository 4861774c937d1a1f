"""Intervals against their limits, as strips at the top of the page."""

from __future__ import annotations

from dataclasses import dataclass

from convert.reporting.formatting import Report, percent, points, ranks_five, words

GAUGE_MARGIN = 0.12
"""Fraction of a strip left free at both ends."""
AGREEMENT_LIMIT, TOP5_LIMIT = "min_agreement", "max_top5_drop_pp"
LIMITED = (
    ("{} agreement", "agreement_top1", "agreement_ci95", AGREEMENT_LIMIT),
    ("{} drop", "top1_drop_pp", "top1_drop_ci95_pp", "max_drop_pp"),
    ("Top-5 drop", "top5_drop_pp", "top5_drop_ci95_pp", TOP5_LIMIT),
)
"""What is measured (with `Words.rank` where a name is left open), keys of its value and interval in a report's
`drift`, and of its limit in `gate.limits`."""


@dataclass(frozen=True)
class Gauge:
    """An interval and its limit as a strip, with places in percent of its width.

    If `more_is_better`, values right of the limit are allowed, else those left of it.
    """

    name: str
    limit: str
    value_at: float
    low: float
    high: float
    limit_at: float
    more_is_better: bool


def gauges(report: Report) -> list[Gauge]:
    """Return a gauge for each limit of the report's gate whose figure has an interval in its drift."""
    if report["drift"] is None:
        return []
    found = []
    for name, value_key, interval_key, limit_key in LIMITED:
        interval, limit = report["drift"][interval_key], report["gate"]["limits"][limit_key]
        if interval is not None and (limit_key != TOP5_LIMIT or ranks_five(report["drift"])):
            more_is_better = limit_key == AGREEMENT_LIMIT
            text = f"at least {percent(limit)} required" if more_is_better else f"at most {points(limit)} allowed"
            value_at, low, high, limit_at = _places(report["drift"][value_key], *interval, limit)
            found.append(
                Gauge(name.format(words(report["drift"]).rank), text, value_at, low, high, limit_at, more_is_better)
            )
    return found


def _places(*numbers: float) -> list[float]:
    """Return positions on a strip that just shows all numbers."""
    left, right = min(numbers), max(numbers)
    width = (right - left) or 1.0
    return [round(100 * (GAUGE_MARGIN + (1 - 2 * GAUGE_MARGIN) * (x - left) / width), 2) for x in numbers]
