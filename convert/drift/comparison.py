"""What changed from the predictions of one model to those of another: image by image, class by class, pair by pair.

All of it follows from the two arrays of probabilities. Classes are those of the reference, matched by label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from convert.drift.predictions import Predictions, class_order
from convert.statistics import metrics
from edge_runtime import ArtifactError
from edge_runtime.arrays import Array

NEAR_TIE = 0.1
"""A flip is a near-tie if the reference's first class led its second by less probability than this, else confident.
On a near-tie the reference itself was in doubt; a confident flip is what a user notices."""


@dataclass(frozen=True)
class Comparison:
    """Predictions of two models for the same images; other predictions are an `ArtifactError`.

    `true_classes` has the index of each image's class among the reference's labels, or is None without labels.
    """

    reference: Predictions
    candidate: Predictions
    true_classes: Sequence[int] | None

    def __post_init__(self) -> None:
        if self.reference.paths != self.candidate.paths:
            raise ArtifactError("reference and candidate answered different images: run both on the same folder")

    def __len__(self) -> int:
        return len(self.reference.paths)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels of the classes, in the order of the reference."""
        return self.reference.labels

    @cached_property
    def before(self) -> Array:
        """Return the probabilities (N, classes) of the reference.

        They have the memory order of `after`: in another one sums round differently, and equal predictions would not
        be equal.
        """
        return np.ascontiguousarray(self.reference.probabilities)

    @cached_property
    def after(self) -> Array:
        """Return the probabilities (N, classes) of the candidate, its classes in the order of the reference."""
        order = class_order(self.labels, self.candidate.labels)
        return np.ascontiguousarray(self.candidate.probabilities[:, order])

    @cached_property
    def top1(self) -> tuple[Array, Array]:
        """Return the first class of each image by reference and candidate, int (N,) each."""
        return self.before.argmax(axis=1), self.after.argmax(axis=1)

    @cached_property
    def changed(self) -> Array:
        """Return the indices of the images whose first class changed, those the reference was surest of first."""
        reference, candidate = self.top1
        changed = np.flatnonzero(reference != candidate)
        return changed[np.argsort(-self.before[changed].max(axis=1), kind="stable")]


def flips(comparison: Comparison, most: int) -> list[dict[str, Any]]:
    """Return the first `most` images whose first class changed, those the reference was surest of first.

    Entries of the report's `flips` have the three most probable classes of both models, and the true class or None.
    """
    return [_flip(comparison, int(i)) for i in comparison.changed[:most]]


def flip_counts(comparison: Comparison) -> tuple[int, int]:
    """Return how many flips are near-ties and how many are confident, see `NEAR_TIE`."""
    near = metrics.margin(comparison.before[comparison.changed]) < NEAR_TIE
    return int(np.sum(near)), int(np.sum(~near))


def changed_pairs(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the pairs of different first classes, the most frequent first, then in the order of the classes.

    Entries of the report's `confusion` have the class of the reference, that of the candidate, and how many images.
    """
    labels, (reference, candidate) = comparison.labels, (classes[comparison.changed] for classes in comparison.top1)
    counted = Counter(zip(reference.tolist(), candidate.tolist(), strict=True))
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"reference": labels[before], "candidate": labels[after], "images": images}
        for (before, after), images in ranked
    ]


def confusion_matrix(comparison: Comparison) -> Array:
    """Count images by the reference's class (rows) and the candidate's (columns), int (classes, classes)."""
    reference, candidate = comparison.top1
    counts = np.zeros((len(comparison.labels),) * 2, int)
    np.add.at(counts, (reference, candidate), 1)
    return counts


def by_class(comparison: Comparison) -> list[dict[str, Any]]:
    """Return every class that has images, in the order of the classes, as entries of the report's `per_class`.

    Without labels the images of a class are those that the reference puts into it, and accuracies are None.
    """
    reference, candidate = comparison.top1
    labelled = comparison.true_classes is not None
    classes = np.asarray(comparison.true_classes) if labelled else reference
    found = []
    for index in np.unique(classes).tolist():
        before, after = (top1[classes == index] for top1 in (reference, candidate))
        found.append(
            {
                "label": comparison.labels[index],
                "images": len(before),
                "agreement": int((before == after).sum()) / len(before),
                "top1_reference": int((before == index).sum()) / len(before) if labelled else None,
                "top1_candidate": int((after == index).sum()) / len(before) if labelled else None,
            }
        )
    return found


def confidences(comparison: Comparison) -> tuple[Array, Array, Array]:
    """Return both probabilities of the reference's first class, float (N,), and whether it changed, bool (N,)."""
    rows = np.arange(len(comparison))
    reference, candidate = comparison.top1
    return comparison.before[rows, reference], comparison.after[rows, reference], reference != candidate


def _flip(comparison: Comparison, index: int) -> dict[str, Any]:
    classes = comparison.true_classes
    reference, candidate = (_top3(rows[index], comparison.labels) for rows in (comparison.before, comparison.after))
    return {
        "image": str(comparison.reference.paths[index]),
        "reference": reference[0],
        "candidate": candidate[0],
        "label": None if classes is None else comparison.labels[classes[index]],
        "reference_top3": reference,
        "candidate_top3": candidate,
    }


def _top3(row: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
    best = np.argsort(-row, kind="stable")[:3]
    return [{"label": labels[i], "probability": float(row[i])} for i in best.tolist()]
