"""What changed from the answers of one model to those of another: image by image, class by class, pair by pair.

All of it follows from the two arrays of probabilities. Classes are those of the reference, matched by label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from convert.drift.decisions import DECISIONS, Decision
from convert.drift.predictions import Predictions, class_order, refuse_other_head
from edge_runtime import ArtifactError
from edge_runtime.arrays import Array

NEAR_TIE = 0.1
"""A flip is a near-tie if the reference's answer led by less probability than this (`Decision.lead`), else confident.
On a near-tie the reference itself was in doubt; a confident flip is what a user notices."""


@dataclass(frozen=True)
class Comparison:
    """Predictions of two models for the same images; other predictions are an `ArtifactError`.

    `true_answers` has what each image shows by the reference's labels, see `predictions.true_answers`, or is None.
    """

    reference: Predictions
    candidate: Predictions
    true_answers: Sequence[int] | Array | None

    def __post_init__(self) -> None:
        refuse_other_head(self.reference.head, self.candidate.head)
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

    @property
    def decision(self) -> Decision:
        """Return how probabilities become answers."""
        return DECISIONS[self.reference.head]

    @cached_property
    def truth(self) -> Array | None:
        """Return what the images show, in the form of `answers`."""
        return None if self.true_answers is None else np.asarray(self.true_answers)

    @cached_property
    def answers(self) -> tuple[Array, Array]:
        """Return the answers of reference and candidate."""
        return self.decision.answers(self.before), self.decision.answers(self.after)

    @cached_property
    def same(self) -> Array:
        """Return for each image whether both answer the same, bool (N,)."""
        return self.decision.same(*self.answers)

    @cached_property
    def clear(self) -> Array:
        """Return for each image whether the reference's answer leads by `NEAR_TIE` or more, bool (N,)."""
        return np.asarray(self.decision.margin(self.before) >= NEAR_TIE)

    @cached_property
    def changed(self) -> Array:
        """Return the indices of the images whose answer changed, those the reference was surest of first."""
        changed, confidence = np.flatnonzero(~self.same), self.decision.confidence(self.before, self.answers[0])
        return changed[np.argsort(-confidence[changed], kind="stable")]


def flips(comparison: Comparison, most: int) -> list[dict[str, Any]]:
    """Return the first `most` images whose answer changed, those the reference was surest of first.

    Entries of the report's `flips` have the answer of both models, their three most probable classes, and the true
    answer or None.
    """
    return [_flip(comparison, int(i)) for i in comparison.changed[:most]]


def flip_counts(comparison: Comparison) -> tuple[int, int]:
    """Return how many flips are near-ties and how many are confident, see `NEAR_TIE`."""
    changed = comparison.changed
    near = comparison.decision.lead(comparison.before[changed], comparison.answers[1][changed]) < NEAR_TIE
    return int(np.sum(near)), int(np.sum(~near))


def changed_pairs(comparison: Comparison) -> list[dict[str, Any]]:
    """Return what the answers changed from and to, the most frequent first, then in the order of the classes.

    Entries of the report's `confusion` have the class of the reference, that of the candidate, and how many images.
    """
    reference, candidate = (answers[comparison.changed] for answers in comparison.answers)
    return comparison.decision.changes(reference, candidate, comparison.labels)


def confusion_matrix(comparison: Comparison) -> Array | None:
    """Count images by the reference's class (rows) and the candidate's (columns), int (classes, classes).

    None for independent labels.
    """
    return comparison.decision.matrix(*comparison.answers, len(comparison.labels))


def by_class(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the figures of each class, in the order of the classes, as entries of the report's `per_class`."""
    return comparison.decision.by_class(comparison.answers, comparison.truth, comparison.labels)


def confidences(comparison: Comparison) -> tuple[Array, Array, Array]:
    """Return both probabilities of the reference's answer, float (N,), and whether it changed, bool (N,)."""
    answers, confidence = comparison.answers[0], comparison.decision.confidence
    return confidence(comparison.before, answers), confidence(comparison.after, answers), ~comparison.same


def _flip(comparison: Comparison, index: int) -> dict[str, Any]:
    rows, labels, truth = (comparison.before, comparison.after), comparison.labels, comparison.truth
    reference, candidate = (
        _answer(comparison, row[index], answers[index]) for row, answers in zip(rows, comparison.answers, strict=True)
    )
    return {
        "image": str(comparison.reference.paths[index]),
        "reference": reference,
        "candidate": candidate,
        "label": None if truth is None else comparison.decision.name(truth[index], labels),
        "reference_top3": _top3(rows[0][index], labels),
        "candidate_top3": _top3(rows[1][index], labels),
    }


def _answer(comparison: Comparison, row: Array, answer: Array) -> dict[str, Any]:
    confidence = comparison.decision.confidence(row[np.newaxis], np.asarray(answer)[np.newaxis])
    return {"label": comparison.decision.name(answer, comparison.labels), "probability": float(confidence[0])}


def _top3(row: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
    best = np.argsort(-row, kind="stable")[:3]
    return [{"label": labels[i], "probability": float(row[i])} for i in best.tolist()]
