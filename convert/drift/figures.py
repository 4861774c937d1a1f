"""Figures of a comparison, and the verdict that they allow: a `Drift`, and a `Gate` for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from convert.drift.comparison import NEAR_TIE, Comparison, by_class, changed_pairs, flip_counts, flips
from convert.drift.decisions import DECISIONS, TOP
from convert.drift.predictions import Predictions, class_order, true_answers
from convert.images.dataset import ImageSet
from convert.statistics import metrics
from convert.statistics.verdict import (
    FIXED,
    INTERVALS,
    DiscordantPairs,
    Gate,
    Limits,
    PairedCounts,
    judge_counts,
    shared,
)
from edge_runtime.arrays import Array
from edge_runtime.specs import SOFTMAX
from edge_runtime.tensors import centred, logits

MOST_LISTED = 100
"""Flips, and pairs of classes, in a report."""
LISTS = ("flips", "per_class", "confusion")
"""What the report lists and a card has no room for."""
OF_OTHER_HEADS = ("head", "agreement_labels")
"""What reports and cards have only where the head is no softmax."""
LOGITS, ANSWERS = "logits", "answers"
"""What an SQNR can be of: all that a head was given, or what answers in steps tell of it."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Figures under the keys of the report's `drift`; rates are fractions, `_pp` percentage points, `_ci95` intervals.

    Attributes:
        interval: which of `verdict.INTERVALS` the `_ci95` are: "fixed", or "anytime" for a run that could stop early;
            no p-value and no bootstrap interval holds for the latter, and they are None.
        head: one of `edge_runtime.specs.HEADS`. For independent labels an answer is the whole set of labels at or above
            the threshold, `top1_` and `agreement_top1` are about that set, and there is no top 5.
        top1_lost, top1_gained: images right only in the reference, and only in the candidate; `top5_` likewise.
        top1_drop_p_value: `metrics.mcnemar_p_value` of the two.
        flips_near_tie, flips_confident: all flips, divided by `comparison.NEAR_TIE`.
        agreement_clear: agreement on the images where the reference's answer leads by `clear_margin` or more, of which
            there are `clear_images`; `agreement_clear_ci95` is its interval. None where there are none.
        sqnr_db, cosine_mean: of the logits where `sqnr_of` is "logits"; of `sqnr_images` images. Where it is "answers",
            they are of what answers in steps of `answer_step` tell of the logits, floored at half a step.
        answers_sqnr_db: that of the answers of all images, where `answer_step` is not 0 and the logits were measured.
        agreement_labels: of independent labels, how often both models agree on a label, the mean over the labels.
        ece_reference, ece_candidate: `metrics.calibration_error`.
        flips, per_class, confusion: see `comparison.flips`, `by_class` and `changed_pairs`.
    What needs labels is None without them.
    """

    images: int
    classes: int
    labelled: bool
    interval: str
    top1_reference: float | None = None
    top1_candidate: float | None = None
    top1_lost: int | None = None
    top1_gained: int | None = None
    top1_drop_pp: float | None = None
    top1_drop_ci95_pp: tuple[float, float] | None = None
    top1_drop_p_value: float | None = None
    top1_drop_bootstrap95_pp: tuple[float, float] | None = None
    top5_reference: float | None = None
    top5_candidate: float | None = None
    top5_lost: int | None = None
    top5_gained: int | None = None
    top5_drop_pp: float | None = None
    top5_drop_ci95_pp: tuple[float, float] | None = None
    ece_reference: float | None = None
    ece_candidate: float | None = None
    agreement_top1: float
    agreement_ci95: tuple[float, float]
    agreement_top5: float | None
    flips_near_tie: int
    flips_confident: int
    sqnr_db: float
    cosine_mean: float
    kl_mean: float
    max_abs_error: float
    flips: list[dict[str, Any]]
    per_class: list[dict[str, Any]]
    confusion: list[dict[str, Any]]
    agreement_clear: float | None = None
    agreement_clear_ci95: tuple[float, float] | None = None
    clear_images: int = 0
    clear_margin: float = NEAR_TIE
    sqnr_of: str = LOGITS
    sqnr_images: int = 0
    answer_step: float = 0.0
    answers_sqnr_db: float | None = None
    head: str = SOFTMAX
    agreement_labels: float | None = None

    @property
    def counts(self) -> PairedCounts:
        """Return the counts that the verdict rests on."""
        agreed = self.images - self.flips_near_tie - self.flips_confident
        rank = DECISIONS[self.head].rank
        if self.top1_lost is None or self.top1_gained is None:
            return PairedCounts(self.images, agreed, rank=rank)
        top1, top5 = DiscordantPairs(self.top1_lost, self.top1_gained), None
        if self.classes > TOP and self.top5_lost is not None and self.top5_gained is not None:
            top5 = DiscordantPairs(self.top5_lost, self.top5_gained)
        return PairedCounts(self.images, agreed, top1, top5, rank)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; an infinite SQNR (equal outputs) becomes None."""
        value = {**asdict(self), "sqnr_db": self.sqnr_db if np.isfinite(self.sqnr_db) else None}
        left_out = OF_OTHER_HEADS if self.head == SOFTMAX else ()
        return {key: each for key, each in value.items() if key not in left_out}

    def summary(self) -> dict[str, Any]:
        """Return what goes into a card: everything except the lists."""
        return {key: value for key, value in self.to_json().items() if key not in LISTS}


@dataclass(frozen=True)
class Assessment:
    """The predictions of two models, how far apart they are, and the verdict."""

    comparison: Comparison
    drift: Drift
    gate: Gate


def assess(
    reference: Predictions,
    candidate: Predictions,
    images: ImageSet,
    limits: Limits,
    interval: str = FIXED,
    *,
    candidate_logits: Array | None = None,
    looks: int = 1,
) -> Assessment:
    """Compare the predictions of two models for `images`, or for the same part of them; measure and judge the drift.

    Class folders or a file give labels; for `interval` see `measure`, for `looks` `judge`. `candidate_logits` are those
    of the candidate for the first images, (n, classes), where its answers do not tell them. Two models that do not have
    the same classes or head, or predicted different images, are an `ArtifactError`.
    """
    comparison = Comparison(reference, candidate, true_answers(images, reference))
    drift = with_logits(measure(comparison, interval), comparison, candidate_logits)
    return Assessment(comparison, drift, judge(drift, limits, looks))


def with_logits(drift: Drift, comparison: Comparison, candidate_logits: Array | None) -> Drift:
    """Return a drift with the SQNR of logits that were read where the candidate's answers, in steps, do not tell them.

    `candidate_logits` (n, classes) are of the first images, in the candidate's order; None leaves the drift as it is.
    A softmax only knows logits less their mean.
    """
    if candidate_logits is None:
        return drift
    order = class_order(comparison.labels, comparison.candidate.labels)
    given = candidate_logits[:, order].astype(np.float64)
    after = centred(given) if drift.head == SOFTMAX else given
    before = logits(comparison.before[: len(after)], drift.head, comparison.reference.step)
    return replace(
        drift,
        sqnr_db=metrics.sqnr_db(before, after),
        cosine_mean=float(metrics.cosine(before, after).mean()),
        sqnr_of=ANSWERS if comparison.reference.step else LOGITS,
        sqnr_images=len(after),
        answers_sqnr_db=drift.sqnr_db if np.isfinite(drift.sqnr_db) else None,
    )


def measure(comparison: Comparison, interval: str = FIXED) -> Drift:
    """Measure how far the candidate's predictions are from the reference's.

    `interval` is "fixed", or "anytime" if the images seen decided when to stop.
    """
    p, q, same, decision = comparison.before, comparison.after, comparison.same, comparison.decision
    near_ties, confident = flip_counts(comparison)
    step, head = max(comparison.reference.step, comparison.candidate.step), comparison.reference.head
    before, after = (logits(x, head, step) for x in (p, q))
    clear, agreed = int(comparison.clear.sum()), int(np.sum(same & comparison.clear))
    return Drift(
        images=len(same),
        classes=len(comparison.labels),
        labelled=comparison.truth is not None,
        interval=interval,
        **_accuracy(comparison, interval),
        agreement_top1=float(same.mean()),
        agreement_ci95=INTERVALS[interval].rate(int(same.sum()), len(same)),
        agreement_top5=float(metrics.agreement_top_k(p, q, TOP).mean()) if TOP in decision.ranks else None,
        flips_near_tie=near_ties,
        flips_confident=confident,
        sqnr_db=metrics.sqnr_db(before, after),
        cosine_mean=float(metrics.cosine(before, after).mean()),
        kl_mean=float(decision.divergence(p, q, step).mean()),
        max_abs_error=float(np.abs(p - q).max()),
        flips=flips(comparison, MOST_LISTED),
        per_class=by_class(comparison),
        confusion=changed_pairs(comparison)[:MOST_LISTED],
        agreement_clear=agreed / clear if clear else None,
        agreement_clear_ci95=INTERVALS[interval].rate(agreed, clear) if clear else None,
        clear_images=clear,
        sqnr_of=ANSWERS if step else LOGITS,
        sqnr_images=len(same),
        answer_step=step,
        head=head,
        agreement_labels=decision.label_agreement(*comparison.answers),
    )


def judge(drift: Drift, limits: Limits, looks: int = 1) -> Gate:
    """Pass or fail a drift if the whole 95 % interval is on one side of the limit; otherwise it is inconclusive.

    Where several artifacts are judged on the same images, and the first that passes is taken, they share the 5 % of
    error: `looks` is their number. That is for a number of images that was fixed in advance.
    """
    intervals = INTERVALS[drift.interval] if looks == 1 else shared(looks)
    return judge_counts(drift.counts, limits, intervals, looks)


def _accuracy(comparison: Comparison, interval: str) -> dict[str, Any]:
    """Return the figures that need labels."""
    decision, truth = comparison.decision, comparison.truth
    if truth is None:
        return {}
    found: dict[str, Any] = {}
    for k in decision.ranks:
        was, is_now = (decision.right(x, truth, k) for x in (comparison.before, comparison.after))
        found |= _paired(was, is_now, k, interval)
    answered = zip(("reference", "candidate"), (comparison.before, comparison.after), comparison.answers, strict=True)
    for model, x, answers in answered:
        hits = decision.same(answers, truth)
        found[f"ece_{model}"] = metrics.confidence_gap(decision.confidence(x, answers), hits)
    if interval == FIXED:
        lost, gained = found["top1_lost"], found["top1_gained"]
        low, high = metrics.bootstrap_drop_interval(lost, gained, len(truth))
        found["top1_drop_p_value"] = metrics.mcnemar_p_value(lost, gained)
        found["top1_drop_bootstrap95_pp"] = (100 * low, 100 * high)
    return found


def _paired(was: Array, is_now: Array, k: int, interval: str) -> dict[str, Any]:
    """Return top-k accuracy of both and its drop, given which images each has right."""
    lost, gained = int(np.sum(was & ~is_now)), int(np.sum(~was & is_now))
    low, high = INTERVALS[interval].drop(lost, gained, len(was))
    return {
        f"top{k}_lost": lost,
        f"top{k}_gained": gained,
        f"top{k}_reference": float(was.mean()),
        f"top{k}_candidate": float(is_now.mean()),
        f"top{k}_drop_pp": 100 * (lost - gained) / len(was),
        f"top{k}_drop_ci95_pp": (100 * low, 100 * high),
    }
