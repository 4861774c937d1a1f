"""What changed from the predictions of one model to those of another: image by image, class by class, pair by pair.

All of it follows from the two arrays of probabilities. Classes are those of the reference, matched by label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convert.drift.predictions import Predictions, class_order
from convert.statistics import metrics
from edge_runtime import ArtifactError
from edge_runtime.arrays import Array

LOST, GAINED, STILL_WRONG = "lost", "gained", "still wrong"
NEAR_TIE = 0.1
"""A flip is a near-tie if the reference's first class led its second by less probability than this, else confident.
On a near-tie the reference itself was in doubt; a confident flip is what a user notices."""


@dataclass(frozen=True)
class Comparison:
    """Predictions of two models for the same images.

    `true_classes` has the index of each image's class among the reference's labels, or is None without labels.

    Raises:
        ArtifactError: the two predicted different images.
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
        """Return the probabilities (N, classes) of the candidate, its classes in the order of the reference.

        Raises:
            ArtifactError: the two models do not have the same classes.
        """
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


@dataclass(frozen=True)
class Guess:
    """A class and the probability that a model gave it."""

    label: str
    probability: float


@dataclass(frozen=True)
class Flip:
    """An image whose first class changed: the three most probable classes of both models, and its true class.

    `effect` is `LOST`, `GAINED` or `STILL_WRONG`; it and `true_label` are None without labels.
    """

    path: Path
    reference: tuple[Guess, ...]
    candidate: tuple[Guess, ...]
    true_label: str | None
    effect: str | None

    def to_json(self) -> dict[str, Any]:
        """Return an entry of the report's `flips`."""
        reference, candidate = ([asdict(guess) for guess in top3] for top3 in (self.reference, self.candidate))
        return {
            "image": str(self.path),
            "reference": reference[0],
            "candidate": candidate[0],
            "label": self.true_label,
            "reference_top3": reference,
            "candidate_top3": candidate,
        }


@dataclass(frozen=True)
class Pair:
    """A class of the reference, the different one of the candidate, and for how many images."""

    reference: str
    candidate: str
    images: int


@dataclass(frozen=True)
class ClassChange:
    """One class: its images, how many keep their first class, how many each model gets right.

    Without labels the images are those that the reference puts into the class, and `right_reference` and
    `right_candidate` are None.
    """

    label: str
    images: int
    agreed: int
    right_reference: int | None
    right_candidate: int | None

    @property
    def gain(self) -> int:
        """Return how many more images the candidate gets right; 0 without labels."""
        return (self.right_candidate or 0) - (self.right_reference or 0)

    @property
    def badness(self) -> tuple[int, int]:
        """Return a key to sort by: what the class lost, then how many first classes changed."""
        return -self.gain, self.images - self.agreed

    def to_json(self) -> dict[str, Any]:
        """Return an entry of the report's `per_class`."""
        return {
            "label": self.label,
            "images": self.images,
            "agreement": self.agreed / self.images,
            "top1_reference": None if self.right_reference is None else self.right_reference / self.images,
            "top1_candidate": None if self.right_candidate is None else self.right_candidate / self.images,
        }


def flips(comparison: Comparison, most: int) -> list[Flip]:
    """Return the first `most` flips, those the reference was surest of first."""
    return [_flip(comparison, int(i)) for i in comparison.changed[:most]]


def flip_counts(comparison: Comparison) -> tuple[int, int]:
    """Return how many flips are near-ties and how many are confident, see `NEAR_TIE`."""
    near = metrics.margin(comparison.before[comparison.changed]) < NEAR_TIE
    return int(np.sum(near)), int(np.sum(~near))


def effects(comparison: Comparison) -> dict[str, int]:
    """Return how many flips were lost, gained, or wrong before and after; empty without labels."""
    if comparison.true_classes is None:
        return {}
    counted = Counter(_effect(comparison, int(i)) for i in comparison.changed)
    return {effect: counted[effect] for effect in (LOST, GAINED, STILL_WRONG)}


def changed_pairs(comparison: Comparison) -> list[Pair]:
    """Return the pairs of different first classes, the most frequent first, then in the order of the classes."""
    reference, candidate = (classes[comparison.changed] for classes in comparison.top1)
    counted = Counter(zip(reference.tolist(), candidate.tolist(), strict=True))
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [Pair(comparison.labels[was], comparison.labels[is_now], n) for (was, is_now), n in ranked]


def confusion_matrix(comparison: Comparison) -> Array:
    """Count images by the reference's class (rows) and the candidate's (columns), int (classes, classes)."""
    reference, candidate = comparison.top1
    counts = np.zeros((len(comparison.labels),) * 2, int)
    np.add.at(counts, (reference, candidate), 1)
    return counts


def by_class(comparison: Comparison) -> list[ClassChange]:
    """Return every class that has images, in the order of the classes."""
    reference, candidate = comparison.top1
    labelled = comparison.true_classes is not None
    classes = np.asarray(comparison.true_classes) if labelled else reference
    found = []
    for index in np.unique(classes).tolist():
        here = classes == index
        found.append(
            ClassChange(
                comparison.labels[index],
                int(here.sum()),
                int((reference == candidate)[here].sum()),
                int((reference[here] == index).sum()) if labelled else None,
                int((candidate[here] == index).sum()) if labelled else None,
            )
        )
    return found


def confidences(comparison: Comparison) -> tuple[Array, Array, Array]:
    """Return both probabilities of the reference's first class, float (N,), and whether it changed, bool (N,)."""
    rows = np.arange(len(comparison))
    reference, candidate = comparison.top1
    return comparison.before[rows, reference], comparison.after[rows, reference], reference != candidate


def _flip(comparison: Comparison, index: int) -> Flip:
    true_classes = comparison.true_classes
    return Flip(
        comparison.reference.paths[index],
        _top3(comparison.before[index], comparison.labels),
        _top3(comparison.after[index], comparison.labels),
        None if true_classes is None else comparison.labels[true_classes[index]],
        _effect(comparison, index),
    )


def _effect(comparison: Comparison, index: int) -> str | None:
    if comparison.true_classes is None:
        return None
    effect_of = {int(comparison.top1[1][index]): GAINED, int(comparison.top1[0][index]): LOST}
    return effect_of.get(comparison.true_classes[index], STILL_WRONG)


def _top3(row: Array, labels: Sequence[str]) -> tuple[Guess, ...]:
    best = np.argsort(-row, kind="stable")[:3]
    return tuple(Guess(labels[i], float(row[i])) for i in best.tolist())
