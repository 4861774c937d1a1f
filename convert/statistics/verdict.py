"""From counts to a verdict: pass, fail, or inconclusive, and then how many more images it would take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from convert.statistics import confidence_sequence, metrics

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
MOST_IMAGES_WORTH_NAMING = 10_000_000
PRECISION = 0.02
"""Of the number of images said to be enough."""


@dataclass(frozen=True)
class Limits:
    """What a candidate may lose: of top-1 and of top-5 in percentage points; `min_agreement` is a fraction."""

    max_drop_pp: float = 2.0
    min_agreement: float = 0.95
    max_top5_drop_pp: float = 2.0


@dataclass(frozen=True)
class Change:
    """Images that were right in the reference alone (`lost`), and in the candidate alone (`gained`)."""

    lost: float
    gained: float


@dataclass(frozen=True)
class PairedCounts:
    """What a verdict rests on.

    Attributes:
        images: all answered images.
        agreed: those with the same first class on both sides.
        top1: what changed of the true class's being the first; None without labels.
        top5: what changed of its being among the first five; None without labels, or where there are five at most.
    """

    images: float
    agreed: float
    top1: Change | None = None
    top5: Change | None = None

    def scaled(self, images: float) -> PairedCounts:
        """The same rates on another number of images."""
        factor = images / self.images
        top1, top5 = (
            None if change is None else Change(factor * change.lost, factor * change.gained)
            for change in (self.top1, self.top5)
        )
        return PairedCounts(images, factor * self.agreed, top1, top5)

    def drops(self, limits: Limits) -> list[Drop]:
        """What may be lost, and how much of it."""
        candidates = (("top-1", self.top1, limits.max_drop_pp), ("top-5", self.top5, limits.max_top5_drop_pp))
        return [Drop(rank, change, limit) for rank, change, limit in candidates if change is not None]


@dataclass(frozen=True)
class Drop:
    """A change of the rank "top-1" or "top-5", and its limit in percentage points."""

    rank: str
    change: Change
    limit_pp: float


@dataclass(frozen=True)
class Intervals:
    """How sure one can be of a rate, and of a drop; both as in `convert.statistics.metrics`."""

    rate: Callable[[float, float], tuple[float, float]]
    drop: Callable[[float, float, float], tuple[float, float]]


FIXED, ANYTIME = "fixed", "anytime"
INTERVALS = {
    FIXED: Intervals(metrics.wilson_interval, metrics.paired_drop_interval),
    ANYTIME: Intervals(confidence_sequence.rate_interval, confidence_sequence.drop_interval),
}
"""For a number of images that was fixed before the first of them was seen; and for a run that may stop at any image."""


@dataclass(frozen=True)
class Gate:
    """The judgement: `verdict` pass, fail or inconclusive, the limits, and a reason for each limit."""

    verdict: str
    limits: Limits
    reasons: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return verdict, limits and reasons, as a report's `gate`."""
        return {"verdict": self.verdict, "limits": asdict(self.limits), "reasons": self.reasons}


def judge_counts(tally: PairedCounts, limits: Limits, intervals: Intervals) -> Gate:
    """Pass or fail only where the whole 95 % interval is on one side of the limit."""
    judged = _judgements(tally, limits, intervals)
    reasons = []
    for index, (side, text) in enumerate(judged):
        hint = f"; {_more_images(tally, limits, intervals, index)}" if side == INCONCLUSIVE else ""
        reasons.append(f"{side}: {text}{hint}")
    return Gate(worst([side for side, _ in judged]), limits, reasons)


def is_certain(tally: PairedCounts, limits: Limits) -> bool:
    """Whether a run that may stop at any image has its verdict.

    The capital at the limit tells nearly always that it has not, at a fraction of what the intervals cost.
    """
    sides = [
        _anytime_side(
            confidence_sequence.RATE_VALUES, [tally.images - tally.agreed, tally.agreed], limits.min_agreement
        )
    ]
    for drop in tally.drops(limits):
        change = drop.change
        counts = [change.lost, tally.images - change.lost - change.gained, change.gained]
        sides.append(_anytime_side(confidence_sequence.DROP_VALUES, counts, (1 - drop.limit_pp / 100) / 2))
    if worst(sides) == INCONCLUSIVE:
        return False
    return judge_counts(tally, limits, INTERVALS[ANYTIME]).verdict != INCONCLUSIVE


def worst(verdicts: Sequence[str]) -> str:
    """Fail before inconclusive before pass."""
    return next(verdict for verdict in (FAIL, INCONCLUSIVE, PASS) if verdict in verdicts)


def _judgements(tally: PairedCounts, limits: Limits, intervals: Intervals) -> list[tuple[str, str]]:
    """The side of each limit that the tally is on, and the figures behind it."""
    drops = [_drop(tally, drop, intervals) for drop in tally.drops(limits)]
    return [_agreement(tally, limits, intervals), *drops]


def _agreement(tally: PairedCounts, limits: Limits, intervals: Intervals) -> tuple[str, str]:
    low, high = intervals.rate(tally.agreed, tally.images)
    text = (
        f"top-1 agreement {tally.agreed / tally.images:.2%} [{low:.2%}, {high:.2%}], "
        f"at least {limits.min_agreement:.2%} wanted"
    )
    return _side(low >= limits.min_agreement, high < limits.min_agreement), text


def _drop(tally: PairedCounts, drop: Drop, intervals: Intervals) -> tuple[str, str]:
    lost, gained = drop.change.lost, drop.change.gained
    low, high = (100 * end for end in intervals.drop(lost, gained, tally.images))
    text = (
        f"{drop.rank} drop {100 * (lost - gained) / tally.images:.2f} pp [{low:.2f}, {high:.2f}], "
        f"at most {drop.limit_pp:.2f} wanted"
    )
    return _side(high <= drop.limit_pp, low > drop.limit_pp), text


def _side(within: bool, beyond: bool) -> str:
    return PASS if within else FAIL if beyond else INCONCLUSIVE


def _anytime_side(values: Sequence[float], counts: Sequence[float], limit: float) -> str:
    """Pass where means up to `limit` are excluded, fail where those from there on are."""
    above = confidence_sequence.log_capital(values, confidence_sequence.as_counts(counts), limit)
    below = confidence_sequence.log_capital(values, confidence_sequence.as_counts(counts[::-1]), 1 - limit)
    return _side(bool(above >= confidence_sequence.WANTED), bool(below >= confidence_sequence.WANTED))


def _more_images(tally: PairedCounts, limits: Limits, intervals: Intervals, index: int) -> str:
    """How many images more would decide, if the rates stay what they are; found by doubling, then by halving."""

    def decided(n: float) -> bool:
        return _judgements(tally.scaled(n), limits, intervals)[index][0] != INCONCLUSIVE

    enough = tally.images
    while not decided(enough):
        enough *= 2
        if enough > MOST_IMAGES_WORTH_NAMING:
            return "the rate is on the limit, more images will hardly decide"
    too_few = enough / 2
    while enough - too_few > max(1, enough * PRECISION):
        middle = (enough + too_few) / 2
        too_few, enough = (too_few, middle) if decided(middle) else (middle, enough)
    return f"about {math.ceil(enough - tally.images):,} more images would decide"
