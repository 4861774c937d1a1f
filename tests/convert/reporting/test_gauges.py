"""Intervals against limits: everything lies on the strip, in its order."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from convert.reporting.gauges import gauges

RATE = st.floats(0, 1)
LIMITS = {"min_agreement": 0.95, "max_drop_pp": 2.0, "max_top5_drop_pp": 1.0}


def report(agreement: tuple[float, float, float], drop: tuple[float, float, float] | None = None) -> dict[str, Any]:
    """Of low end, value and high end."""
    drift: dict[str, Any] = {"agreement_top1": agreement[1], "agreement_ci95": [agreement[0], agreement[2]]}
    drift |= {"top1_drop_ci95_pp": None, "top5_drop_ci95_pp": None, "classes": 6, "agreement_top5": 1.0}
    if drop is not None:
        drift |= {"top1_drop_pp": drop[1], "top1_drop_ci95_pp": [drop[0], drop[2]]}
    return {"drift": drift, "gate": {"limits": LIMITS}}


@given(st.tuples(RATE, RATE, RATE).map(sorted))
def test_everything_lies_on_the_strip_in_its_order(numbers: list[float]) -> None:
    low, value, high = numbers
    (gauge,) = gauges(report((low, value, high)))
    assert 0 <= min(gauge.low, gauge.limit_at) <= max(gauge.high, gauge.limit_at) <= 100
    assert gauge.low <= gauge.value_at <= gauge.high
    if low >= 0.95:
        assert gauge.limit_at <= gauge.low
    if high <= 0.95:
        assert gauge.limit_at >= gauge.high


def test_more_agreement_and_less_drop_are_better() -> None:
    agreement, drop = gauges(report((0.96, 0.97, 0.98), (-1.0, 0.5, 1.0)))
    assert (agreement.limit, agreement.more_is_better) == ("at least 95.00% required", True)
    assert (drop.limit, drop.more_is_better) == ("at most 2.00 pp allowed", False)
    assert agreement.limit_at < agreement.low
    assert drop.high < drop.limit_at


def test_top_5_has_a_gauge_where_it_has_an_interval() -> None:
    value = report((0.96, 0.97, 0.98))
    assert [gauge.name for gauge in gauges(value)] == ["Top-1 agreement"]
    value["drift"] |= {"top5_drop_pp": 0.1, "top5_drop_ci95_pp": [-0.2, 0.4]}
    assert [(gauge.name, gauge.limit) for gauge in gauges(value)][1:] == [("Top-5 drop", "at most 1.00 pp allowed")]
    value["drift"]["classes"] = 5
    assert [gauge.name for gauge in gauges(value)] == ["Top-1 agreement"], "among five classes it cannot drop"


def test_an_unmeasured_artifact_has_no_gauge() -> None:
    assert gauges({"drift": None, "gate": None}) == []


def test_an_interval_without_width_on_the_limit_is_drawn() -> None:
    (gauge,) = gauges(report((0.95, 0.95, 0.95)))
    assert gauge.low == gauge.high == gauge.limit_at
