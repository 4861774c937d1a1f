"""Turn paired counts into a verdict: pass, fail or inconclusive, with how many more images would decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import NormalDist
from typing import Any, NamedTuple

from convert.statistics import confidence_sequence, metrics

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
EXIT_CODES = {PASS: 0, FAIL: 3, INCONCLUSIVE: 4}
"""Verdict -> the exit code of the command that judged."""
MOST_IMAGES_WORTH_NAMING = 100_000
PRECISION = 0.02
"""Relative precision of the number of images said to be enough."""


@dataclass(frozen=True)
class Limits:
    """What a gate allows: drops of top-1 and top-5 accuracy in percentage points, top-1 agreement as a fraction."""

    max_drop_pp: float = 2.0
    min_agreement: float = 0.95
    max_top5_drop_pp: float = 2.0


class DiscordantPairs(NamedTuple):
    """Images that only the reference gets right (`lost`), and those that only the candidate gets right (`gained`)."""

    lost: float
    gained: float


@dataclass(frozen=True)
class PairedCounts:
    """Counts of reference and candidate on the same images: what a verdict rests on.

    Attributes:
        agreed: images for which both predict the same class.
        top1: images that only one of them gets right; None without labels.
        top5: images whose class only one of them has in its top 5; None without labels or with at most 5 classes.
        rank: what `agreed` and `top1` are called.
    """

    images: float
    agreed: float
    top1: DiscordantPairs | None = None
    top5: DiscordantPairs | None = None
    rank: str = "top-1"

    def scaled(self, images: float) -> PairedCounts:
        """Return counts with the same rates on another number of images."""
        factor = images / self.images
        top1, top5 = (
            None if pairs is None else DiscordantPairs(factor * pairs.lost, factor * pairs.gained)
            for pairs in (self.top1, self.top5)
        )
        return PairedCounts(images, factor * self.agreed, top1, top5, self.rank)

    def limited_drops(self, limits: Limits) -> list[tuple[str, DiscordantPairs, float]]:
        """Return rank (such as "top-5"), counts and limit in percentage points of each drop that was counted."""
        drops = ((self.rank, self.top1, limits.max_drop_pp), ("top-5", self.top5, limits.max_top5_drop_pp))
        return [(rank, pairs, limit_pp) for rank, pairs, limit_pp in drops if pairs is not None]


@dataclass(frozen=True)
class IntervalMethod:
    """How the 95% intervals of a rate and of a drop are computed; arguments as in `convert.statistics.metrics`."""

    rate: Callable[[float, float], tuple[float, float]]
    drop: Callable[[float, float, float], tuple[float, float]]


FIXED, ANYTIME = "fixed", "anytime"
INTERVALS = {
    FIXED: IntervalMethod(metrics.wilson_interval, metrics.paired_drop_interval),
    ANYTIME: IntervalMethod(confidence_sequence.rate_interval, confidence_sequence.drop_interval),
}
"""For a number of images that was fixed in advance, and for a run that may stop after any image."""


@dataclass(frozen=True)
class Gate:
    """A judgement: its verdict (pass, fail or inconclusive), the limits, and a reason for each limit.

    `looks` is how many artifacts are judged on the same images, of which the first that passes is taken.
    """

    verdict: str
    limits: Limits
    reasons: list[str]
    looks: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return verdict, limits and reasons, as a report's `gate`; `looks` and their level only if there are several.

        `level` is that of each interval, a fraction.
        """
        value = asdict(self)
        if self.looks == 1:
            del value["looks"]
            return value
        return {**value, "level": level(self.looks)}


def level(looks: int) -> float:
    """Return the level of each of several intervals of which none misses the truth in 95% of cases, by a union bound.

    Bonferroni 1936; Dunn 1961, "Multiple comparisons among means", JASA 56:52-64.
    """
    return 1 - confidence_sequence.LEVEL / looks


def shared(looks: int) -> IntervalMethod:
    """Return how to compute intervals for a fixed number of images on which several artifacts are judged."""
    if looks == 1:
        return INTERVALS[FIXED]
    z = NormalDist().inv_cdf((1 + level(looks)) / 2)
    return IntervalMethod(partial(metrics.wilson_interval, z=z), partial(metrics.paired_drop_interval, z=z))


def judge_counts(counts: PairedCounts, limits: Limits, intervals: IntervalMethod, looks: int = 1) -> Gate:
    """Judge counts: pass or fail only where the whole interval, of 95% unless `looks` share it, is on one side.

    `looks` is as in `Gate`; with several of them `intervals` is `shared(looks)`.
    """
    judged = _judgements(counts, limits, intervals)
    reasons, of = [], f", {level(looks):.2%} interval for {looks} artifacts on the same images" if looks > 1 else ""
    for index, (side, text) in enumerate(judged):
        hint = f"; {_more_images(counts, limits, intervals, index)}" if side == INCONCLUSIVE else ""
        reasons.append(f"{side}: {text}{of}{hint}")
    return Gate(worst([side for side, _ in judged]), limits, reasons, looks)


def is_certain(counts: PairedCounts, limits: Limits) -> bool:
    """Return whether a run that may stop after any image has its verdict.

    While it has not, the capital at the limit says so nearly always, at a fraction of the cost of the intervals.
    """
    by_agreement = [counts.images - counts.agreed, counts.agreed]
    sides = [_anytime_side(confidence_sequence.RATE_VALUES, by_agreement, limits.min_agreement)]
    for _, (lost, gained), limit_pp in counts.limited_drops(limits):
        by_value = [lost, counts.images - lost - gained, gained]
        sides.append(_anytime_side(confidence_sequence.DROP_VALUES, by_value, (1 - limit_pp / 100) / 2))
    if worst(sides) == INCONCLUSIVE:
        return False
    return worst([side for side, _ in _judgements(counts, limits, INTERVALS[ANYTIME])]) != INCONCLUSIVE


def worst(verdicts: Sequence[str]) -> str:
    """Return the worst verdict: fail before inconclusive before pass."""
    return next(verdict for verdict in (FAIL, INCONCLUSIVE, PASS) if verdict in verdicts)


def _judgements(counts: PairedCounts, limits: Limits, intervals: IntervalMethod) -> list[tuple[str, str]]:
    """Return for each limit the verdict and the figures behind it."""
    low, high = intervals.rate(counts.agreed, counts.images)
    text = (
        f"{counts.rank} agreement {counts.agreed / counts.images:.2%} [{low:.2%}, {high:.2%}], "
        f"at least {limits.min_agreement:.2%} required"
    )
    judged = [(_side(low >= limits.min_agreement, high < limits.min_agreement), text)]
    for rank, (lost, gained), limit_pp in counts.limited_drops(limits):
        low, high = (100 * end for end in intervals.drop(lost, gained, counts.images))
        text = (
            f"{rank} drop {100 * (lost - gained) / counts.images:z.2f} pp [{low:z.2f}, {high:z.2f}], "
            f"at most {limit_pp:z.2f} pp allowed"
        )
        judged.append((_side(high <= limit_pp, low > limit_pp), text))
    return judged


def _side(within: bool, beyond: bool) -> str:
    return PASS if within else FAIL if beyond else INCONCLUSIVE


def _anytime_side(values: Sequence[float], by_value: Sequence[float], limit: float) -> str:
    """Return pass where all means up to `limit` are excluded, and fail where all from there on are."""
    above = confidence_sequence.log_capital(values, by_value, limit)
    below = confidence_sequence.log_capital(values, by_value[::-1], 1 - limit)
    return _side(bool(above >= confidence_sequence.LOG_THRESHOLD), bool(below >= confidence_sequence.LOG_THRESHOLD))


def _more_images(counts: PairedCounts, limits: Limits, intervals: IntervalMethod, index: int) -> str:
    """Say how many more images would decide at the same rates, found by doubling and then by bisection."""

    def decided(n: float) -> bool:
        return _judgements(counts.scaled(n), limits, intervals)[index][0] != INCONCLUSIVE

    enough = counts.images
    while not decided(enough):
        enough *= 2
        if enough > MOST_IMAGES_WORTH_NAMING:
            return "the rate is close to the limit, so that more images are unlikely to decide"
    too_few = enough / 2
    while enough - too_few > max(1, enough * PRECISION):
        middle = (enough + too_few) / 2
        too_few, enough = (too_few, middle) if decided(middle) else (middle, enough)
    return f"about {math.ceil(enough - counts.images):,} more images would decide"
