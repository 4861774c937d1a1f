"""Reference against candidate on images neither was fitted to: a `Drift` with its verdict.

The candidate is opened as a device opens it, with the preprocessing and labels of its own card; the
reference uses its own. Classes are matched by label, so a card that lies shows up as drift.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert import metrics
from convert.errors import ImageSetError
from convert.image_sets import ImageSet, PixelReader
from edge_runtime import ArtifactError, Classifier

Array = npt.NDArray[Any]
PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
MOST_FLIPS_LISTED = 100
MOST_IMAGES_WORTH_NAMING = 10_000_000


@dataclass(frozen=True)
class Limits:
    """What a candidate may lose: `max_drop_pp` of top-1 in percentage points, `min_agreement` as a fraction."""

    max_drop_pp: float = 2.0
    min_agreement: float = 0.95


@dataclass(frozen=True)
class Answers:
    """Probabilities float32 (N, classes) of one network for the images at `paths`, and its labels.

    `skipped` has a message for each image that could not be read; `step` is `Classifier.step`.
    """

    paths: tuple[Path, ...]
    probabilities: Array
    labels: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    step: float = 0.0

    def first(self, count: int) -> Answers:
        """The answers to the first `count` images."""
        return replace(self, paths=self.paths[:count], probabilities=self.probabilities[:count])


@dataclass(frozen=True)
class Drift:
    """Keys as in the report's `drift`; rates are fractions, `_pp` percentage points, `_ci95` intervals."""

    images: int
    labelled: bool
    top1_reference: float | None
    top1_candidate: float | None
    top1_drop_pp: float | None
    top1_drop_ci95_pp: tuple[float, float] | None
    agreement_top1: float
    agreement_ci95: tuple[float, float]
    agreement_top5: float
    sqnr_db: float
    cosine_mean: float
    kl_mean: float
    max_abs_error: float
    flips: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """JSON values; an infinite SQNR (equal outputs) is None."""
        return {**asdict(self), "sqnr_db": self.sqnr_db if np.isfinite(self.sqnr_db) else None}

    def summary(self) -> dict[str, Any]:
        """What goes into a card: everything but the list of flips."""
        return {key: value for key, value in self.to_json().items() if key != "flips"}


@dataclass(frozen=True)
class Gate:
    """The judgement: `verdict` pass, fail or inconclusive, the limits, and a reason for each limit."""

    verdict: str
    limits: Limits
    reasons: list[str]


def answer(classifier: Classifier, images: ImageSet, progress: Callable[[int], None]) -> Answers:
    """Run a classifier over a set of images.

    Args:
        classifier: reference or candidate.
        images: the set, in the order to run it.
        progress: called with the number of images done.

    Raises:
        ImageSetError: more than a tenth of the images, or all of them, cannot be read.
    """
    paths, rows = [], []
    reader = PixelReader(classifier.spec)
    for index, pixels in reader.read(images):
        paths.append(images.paths[index])
        rows.append(classifier.run(pixels))
        progress(index + 1)
    if not rows:
        raise ImageSetError(f"no image in {images.root} could be read")
    return Answers(tuple(paths), np.stack(rows), classifier.labels, tuple(reader.skipped), classifier.step)


def truth(images: ImageSet, answers: Answers) -> list[int] | None:
    """For each answered image the index of its class, or None for a flat folder."""
    classes = images.class_indices(answers.labels)
    if classes is None:
        return None
    of_path = dict(zip(images.paths, classes, strict=True))
    return [of_path[path] for path in answers.paths]


def compare(reference: Answers, candidate: Answers, true_classes: Sequence[int] | None) -> Drift:
    """How far the candidate's answers are from the reference's.

    Args:
        reference, candidate: answers to the same images.
        true_classes: index of each image's class among the reference's labels, or None.

    Raises:
        ArtifactError: the two do not tell the same classes apart, or answered other images.
    """
    if reference.paths != candidate.paths:
        raise ArtifactError("reference and candidate answered different images: run both on the same folder")
    p, q = reference.probabilities, _in_order_of(reference.labels, candidate)
    same = metrics.agreement_top_k(p, q, 1)
    n, agreed = len(same), int(same.sum())
    step = max(reference.step, candidate.step)
    logits, candidate_logits = (metrics.centred(metrics.log_probabilities(x, step)) for x in (p, q))
    return Drift(
        images=n,
        labelled=true_classes is not None,
        **_top1(p.argmax(axis=1), q.argmax(axis=1), true_classes),
        agreement_top1=agreed / n,
        agreement_ci95=metrics.wilson_interval(agreed, n),
        agreement_top5=float(metrics.agreement_top_k(p, q, 5).mean()),
        sqnr_db=metrics.sqnr_db(logits, candidate_logits),
        cosine_mean=float(metrics.cosine(logits, candidate_logits).mean()),
        kl_mean=float(metrics.kl_divergence(p, q, step).mean()),
        max_abs_error=float(np.abs(p - q).max()),
        flips=_flips(reference, q, true_classes),
    )


def judge(drift: Drift, limits: Limits) -> Gate:
    """Pass or fail only where the whole 95 % interval is on one side of the limit."""
    low, high = drift.agreement_ci95
    verdicts = [_side(low >= limits.min_agreement, high < limits.min_agreement)]
    reasons = [
        f"{verdicts[0]}: top-1 agreement {drift.agreement_top1:.2%} [{low:.2%}, {high:.2%}], "
        f"at least {limits.min_agreement:.2%} wanted"
    ]
    if verdicts[0] == INCONCLUSIVE:
        reasons[0] += f"; {_more_images_for_agreement(drift, limits)}"
    if drift.top1_drop_ci95_pp is not None:
        low, high = drift.top1_drop_ci95_pp
        verdicts.append(_side(high <= limits.max_drop_pp, low > limits.max_drop_pp))
        reason = (
            f"{verdicts[1]}: top-1 drop {drift.top1_drop_pp:.2f} pp [{low:.2f}, {high:.2f}], "
            f"at most {limits.max_drop_pp:.2f} wanted"
        )
        if verdicts[1] == INCONCLUSIVE:
            reason += f"; {_more_images_for_drop(drift, limits)}"
        reasons.append(reason)
    worst = next(verdict for verdict in (FAIL, INCONCLUSIVE, PASS) if verdict in verdicts)
    return Gate(worst, limits, reasons)


def _top1(reference: Array, candidate: Array, true_classes: Sequence[int] | None) -> dict[str, Any]:
    if true_classes is None:
        return dict.fromkeys(("top1_reference", "top1_candidate", "top1_drop_pp", "top1_drop_ci95_pp"))
    was, is_now = reference == np.asarray(true_classes), candidate == np.asarray(true_classes)
    lost, gained = int(np.sum(was & ~is_now)), int(np.sum(~was & is_now))
    low, high = metrics.paired_drop_interval(lost, gained, len(was))
    return {
        "top1_reference": float(was.mean()),
        "top1_candidate": float(is_now.mean()),
        "top1_drop_pp": 100 * (lost - gained) / len(was),
        "top1_drop_ci95_pp": (100 * low, 100 * high),
    }


def _in_order_of(labels: Sequence[str], answers: Answers) -> Array:
    """Probabilities of `answers` with its classes in the order of `labels`."""
    if sorted(labels) != sorted(answers.labels):
        missing = sorted(set(labels) ^ set(answers.labels))[:3]
        raise ArtifactError(
            f"reference and candidate do not tell the same classes apart, only one of them has {missing}: "
            "compare models with the same labels"
        )
    column = {label: i for i, label in enumerate(answers.labels)}
    return answers.probabilities[:, [column[label] for label in labels]]


def _flips(reference: Answers, q: Array, true_classes: Sequence[int] | None) -> list[dict[str, Any]]:
    """The images whose first class changed, the most confident of the reference first."""
    p = reference.probabilities
    changed = np.flatnonzero(p.argmax(axis=1) != q.argmax(axis=1))
    changed = changed[np.argsort(-p[changed].max(axis=1), kind="stable")][:MOST_FLIPS_LISTED]

    def top(row: Array) -> dict[str, Any]:
        return {"label": reference.labels[int(row.argmax())], "probability": float(row.max())}

    return [
        {
            "image": str(reference.paths[i]),
            "reference": top(p[i]),
            "candidate": top(q[i]),
            "label": None if true_classes is None else reference.labels[true_classes[int(i)]],
        }
        for i in changed
    ]


def _side(within: bool, beyond: bool) -> str:
    return PASS if within else FAIL if beyond else INCONCLUSIVE


def _more_images_for_agreement(drift: Drift, limits: Limits) -> str:
    def decided(n: int) -> bool:
        low, high = metrics.wilson_interval(round(drift.agreement_top1 * n), n)
        return low >= limits.min_agreement or high < limits.min_agreement

    return _more_images(drift.images, decided)


def _more_images_for_drop(drift: Drift, limits: Limits) -> str:
    assert drift.top1_drop_ci95_pp is not None
    assert drift.top1_drop_pp is not None
    half = (drift.top1_drop_ci95_pp[1] - drift.top1_drop_ci95_pp[0]) / 2
    distance = abs(limits.max_drop_pp - drift.top1_drop_pp)
    return _more_images(drift.images, lambda n: half * np.sqrt(drift.images / n) < distance)


def _more_images(images: int, decided: Callable[[int], bool]) -> str:
    """How many images more would decide, if the rates stay what they are."""
    n = images
    while not decided(n):
        n = n + max(1, n // 20)
        if n > MOST_IMAGES_WORTH_NAMING:
            return "the rate is on the limit, more images will hardly decide"
    return f"about {n - images:,} more images would decide"
