"""Reference against candidate on images neither was fitted to: a `Drift` with its verdict.

The candidate is opened as a device opens it, with the preprocessing and labels of its own card; the
reference uses its own. Classes are matched by label, so a card that lies shows up as drift.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert.drift import changes
from convert.drift.comparison import Comparison
from convert.drift.predictions import Predictions, class_order
from convert.errors import ImageSetError
from convert.images.dataset import ImageSet, PixelReader
from convert.statistics import metrics
from convert.statistics.verdict import (
    ANYTIME,
    FAIL,
    FIXED,
    INCONCLUSIVE,
    INTERVALS,
    PASS,
    Change,
    Gate,
    Limits,
    PairedCounts,
    judge_counts,
)
from convert.system.progress import Progress
from edge_runtime import ArtifactError, Classifier, InputSpec
from edge_runtime.arrays import Array
from edge_runtime.logits import centred, log_probabilities

__all__ = [
    "ANYTIME",
    "FAIL",
    "FIXED",
    "INCONCLUSIVE",
    "PASS",
    "TOP",
    "Drift",
    "Gate",
    "Limits",
    "Predictions",
    "answer",
    "class_order",
    "compare",
    "judge",
    "open_for_many",
    "truth",
]

TOP = 5
MOST_WORKERS = 4
"""Each interpreter has its own copy of the weights, in the layout that its kernels want."""
LISTS = ("flips", "per_class", "confusion")
"""What a report has of a drift, and a card has no room for."""


@dataclass(frozen=True)
class Drift:
    """Keys as in the report's `drift`; rates are fractions, `_pp` percentage points, `_ci95` intervals.

    Attributes:
        interval: which of `judging.INTERVALS` the `_ci95` are: "fixed", or "anytime" for a run that may have
            been stopped by what it saw; then no p-value and no bootstrap interval holds, and they are None.
        top1_lost, top1_gained: images right in the reference alone, and in the candidate alone; top5_ likewise.
        top1_drop_p_value: `metrics.mcnemar_p_value` of them.
        flips_near_tie, flips_confident: all flips, parted by `changes.NEAR_TIE`.
        ece_reference, ece_candidate: `metrics.calibration_error`.
        flips, per_class, confusion: see `convert.drift.changes`.
    What needs labels is None without them.
    """

    images: int
    classes: int
    labelled: bool
    interval: str
    top1_reference: float | None
    top1_candidate: float | None
    top1_lost: int | None
    top1_gained: int | None
    top1_drop_pp: float | None
    top1_drop_ci95_pp: tuple[float, float] | None
    top1_drop_p_value: float | None
    top1_drop_bootstrap95_pp: tuple[float, float] | None
    top5_reference: float | None
    top5_candidate: float | None
    top5_lost: int | None
    top5_gained: int | None
    top5_drop_pp: float | None
    top5_drop_ci95_pp: tuple[float, float] | None
    ece_reference: float | None
    ece_candidate: float | None
    agreement_top1: float
    agreement_ci95: tuple[float, float]
    agreement_top5: float
    flips_near_tie: int
    flips_confident: int
    sqnr_db: float
    cosine_mean: float
    kl_mean: float
    max_abs_error: float
    flips: list[dict[str, Any]]
    per_class: list[dict[str, Any]]
    confusion: list[dict[str, Any]]

    @property
    def tally(self) -> PairedCounts:
        """What the verdict rests on."""
        agreed = self.images - self.flips_near_tie - self.flips_confident
        if self.top1_lost is None or self.top1_gained is None or self.top5_lost is None or self.top5_gained is None:
            return PairedCounts(self.images, agreed)
        top5 = Change(self.top5_lost, self.top5_gained) if self.classes > TOP else None
        return PairedCounts(self.images, agreed, Change(self.top1_lost, self.top1_gained), top5)

    def to_json(self) -> dict[str, Any]:
        """JSON values; an infinite SQNR (equal outputs) is None."""
        return {**asdict(self), "sqnr_db": self.sqnr_db if np.isfinite(self.sqnr_db) else None}

    def summary(self) -> dict[str, Any]:
        """What goes into a card: everything but the lists."""
        return {key: value for key, value in self.to_json().items() if key not in LISTS}


def open_for_many(path: Path, spec: InputSpec | None = None, labels: Sequence[str] | None = None) -> Classifier:
    """A model on this machine's CPU, for many images rather than for one soon.

    Two interpreters of one thread each answer more images than one of two threads, to the same bits.

    Args:
        path, spec, labels: as of `Classifier.open`, which says what is raised.
    """
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    return Classifier.open(path, engine="litert", delegate="cpu", workers=workers, spec=spec, labels=labels)


def answer(classifier: Classifier, images: ImageSet, progress: Progress, name: str) -> Predictions:
    """Run a classifier over a set of images: as many at once as it has workers, while the next ones are decoded.

    Args:
        classifier: reference or candidate.
        images: the set, in the order to run it.
        progress: told of each image.
        name: of the stage.

    Raises:
        ImageSetError: more than a tenth of the images, or all of them, cannot be read.
    """
    paths, rows = [], []
    reader = PixelReader(classifier.spec)
    answered = reader.run(images, classifier.run, classifier.receipt.workers)
    for index, row in progress.track(answered, name, len(images)):
        paths.append(images.paths[index])
        rows.append(row)
    if not rows:
        raise ImageSetError(f"no image in {images.root} could be read")
    return Predictions(tuple(paths), np.stack(rows), classifier.labels, tuple(reader.skipped), classifier.step)


def truth(images: ImageSet, answers: Predictions) -> list[int] | None:
    """For each answered image the index of its class, or None for a flat folder."""
    classes = images.class_indices(answers.labels)
    if classes is None:
        return None
    of_path = dict(zip(images.paths, classes, strict=True))
    return [of_path[path] for path in answers.paths]


def compare(
    reference: Predictions, candidate: Predictions, true_classes: Sequence[int] | None, interval: str = FIXED
) -> Drift:
    """How far the candidate's answers are from the reference's.

    Args:
        reference, candidate: answers to the same images.
        true_classes: index of each image's class among the reference's labels, or None.
        interval: "fixed", or "anytime" where what was seen decided about the number of images.

    Raises:
        ArtifactError: the two do not tell the same classes apart, or answered other images.
    """
    if reference.paths != candidate.paths:
        raise ArtifactError("reference and candidate answered different images: run both on the same folder")
    comparison = Comparison(reference, candidate, true_classes)
    p, q = comparison.before, comparison.after
    same = metrics.agreement_top_k(p, q, 1)
    near_ties, confident = changes.flip_counts(comparison)
    step = max(reference.step, candidate.step)
    logits, candidate_logits = (centred(log_probabilities(x, step)) for x in (p, q))
    return Drift(
        images=len(same),
        classes=len(reference.labels),
        labelled=true_classes is not None,
        interval=interval,
        **_accuracy(p, q, true_classes, interval),
        agreement_top1=float(same.mean()),
        agreement_ci95=INTERVALS[interval].rate(int(same.sum()), len(same)),
        agreement_top5=float(metrics.agreement_top_k(p, q, TOP).mean()),
        flips_near_tie=near_ties,
        flips_confident=confident,
        sqnr_db=metrics.sqnr_db(logits, candidate_logits),
        cosine_mean=float(metrics.cosine(logits, candidate_logits).mean()),
        kl_mean=float(metrics.kl_divergence(p, q, step).mean()),
        max_abs_error=float(np.abs(p - q).max()),
        flips=changes.flips(comparison),
        per_class=changes.per_class(comparison),
        confusion=changes.confusion(comparison),
    )


def judge(drift: Drift, limits: Limits) -> Gate:
    """Pass or fail only where the whole 95 % interval is on one side of the limit."""
    return judge_counts(drift.tally, limits, INTERVALS[drift.interval])


def _accuracy(p: Array, q: Array, true_classes: Sequence[int] | None, interval: str) -> dict[str, Any]:
    """What needs labels."""
    if true_classes is None:
        return dict.fromkeys(NEEDS_LABELS)
    truth = np.asarray(true_classes)
    top1, top5 = _paired(p, q, truth, 1, interval), _paired(p, q, truth, TOP, interval)
    lost, gained, images = top1["lost"], top1["gained"], len(truth)
    fixed = interval == FIXED
    bootstrap = metrics.bootstrap_drop_interval(lost, gained, images) if fixed else None
    return {
        **{f"top1_{key}": top1[key] for key in PAIRED},
        "top1_drop_p_value": metrics.mcnemar_p_value(lost, gained) if fixed else None,
        "top1_drop_bootstrap95_pp": bootstrap and (100 * bootstrap[0], 100 * bootstrap[1]),
        **{f"top5_{key}": top5[key] for key in PAIRED},
        "ece_reference": metrics.calibration_error(p, truth),
        "ece_candidate": metrics.calibration_error(q, truth),
    }


PAIRED = ("reference", "candidate", "lost", "gained", "drop_pp", "drop_ci95_pp")
NEEDS_LABELS = (
    *(f"{rank}_{key}" for rank in ("top1", "top5") for key in PAIRED),
    *("top1_drop_p_value", "top1_drop_bootstrap95_pp", "ece_reference", "ece_candidate"),
)


def _paired(p: Array, q: Array, truth: Array, k: int, interval: str) -> dict[str, Any]:
    was, is_now = metrics.hits_top_k(p, truth, k), metrics.hits_top_k(q, truth, k)
    lost, gained = int(np.sum(was & ~is_now)), int(np.sum(~was & is_now))
    low, high = INTERVALS[interval].drop(lost, gained, len(was))
    return {
        "lost": lost,
        "gained": gained,
        "reference": float(was.mean()),
        "candidate": float(is_now.mean()),
        "drop_pp": 100 * (lost - gained) / len(was),
        "drop_ci95_pp": (100 * low, 100 * high),
    }
