"""What changed from one network's answers to another's: the counts behind the report and its page.

All of it follows from the two arrays of probabilities; classes are those of the reference, matched by label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from convert.drift.predictions import Predictions, class_order
from edge_runtime.arrays import Array

LOST, GAINED, STILL_WRONG = "lost", "gained", "still wrong"


@dataclass(frozen=True)
class Comparison:
    """Two networks' answers to the same images, which `convert.drift.drift.compare` has accepted.

    `true_classes` has the index of each image's class among the reference's labels, or is None.
    """

    reference: Predictions
    candidate: Predictions
    true_classes: Sequence[int] | None

    def __len__(self) -> int:
        return len(self.reference.paths)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the reference."""
        return self.reference.labels

    @cached_property
    def before(self) -> Array:
        """Probabilities (N, classes) of the reference.

        Both sides have the same memory order: sums would round otherwise, and equal answers would not be equal.
        """
        return np.ascontiguousarray(self.reference.probabilities)

    @cached_property
    def after(self) -> Array:
        """Probabilities (N, classes) of the candidate, its classes in the order of the reference."""
        order = class_order(self.labels, self.candidate.labels)
        return np.ascontiguousarray(self.candidate.probabilities[:, order])

    @cached_property
    def answers(self) -> tuple[Array, Array]:
        """For each image the first class of reference and candidate, int (N,) each."""
        return self.before.argmax(axis=1), self.after.argmax(axis=1)

    @cached_property
    def changed(self) -> Array:
        """Indices of the images whose first class changed, the most confident of the reference first."""
        reference, candidate = self.answers
        changed = np.flatnonzero(reference != candidate)
        return changed[np.argsort(-self.before[changed].max(axis=1), kind="stable")]


@dataclass(frozen=True)
class Guess:
    """A class and the probability a network gave it."""

    label: str
    probability: float


@dataclass(frozen=True)
class Flip:
    """An image whose first class changed: the three likeliest classes of both, and what it really shows.

    `effect` is `LOST`, `GAINED` or `STILL_WRONG`; it and `true_label` are None without labels.
    """

    path: Path
    reference: tuple[Guess, ...]
    candidate: tuple[Guess, ...]
    true_label: str | None
    effect: str | None


@dataclass(frozen=True)
class Pair:
    """How many images went from the reference's class to another one of the candidate's."""

    reference: str
    candidate: str
    images: int


@dataclass(frozen=True)
class ClassChange:
    """One class: its images, how many keep their answer, how many each network names correctly.

    The images are those of the class, or where nothing is labelled those that the reference puts there; then
    `right_reference` and `right_candidate` are None.
    """

    label: str
    images: int
    agreed: int
    right_reference: int | None
    right_candidate: int | None

    @property
    def gain(self) -> int:
        """How many more images the candidate names correctly; 0 without labels."""
        return (
            0
            if self.right_reference is None or self.right_candidate is None
            else self.right_candidate - self.right_reference
        )

    @property
    def badness(self) -> tuple[int, int]:
        """What the class lost, then how many answers changed: the more, the worse."""
        return -self.gain, self.images - self.agreed


def flips(comparison: Comparison, most: int) -> list[Flip]:
    """The first `most` changed answers, the most confident of the reference first."""
    return [_flip(comparison, int(i)) for i in comparison.changed[:most]]


def effects(comparison: Comparison) -> dict[str, int]:
    """How many changed answers were lost, gained, or wrong before and after; empty without labels."""
    if comparison.true_classes is None:
        return {}
    counted = Counter(_effect(comparison, int(i)) for i in comparison.changed)
    return {effect: counted[effect] for effect in (LOST, GAINED, STILL_WRONG)}


def changed_pairs(comparison: Comparison) -> list[Pair]:
    """What the changed answers were and became, the most frequent first, then in the order of the classes."""
    reference, candidate = (classes[comparison.changed] for classes in comparison.answers)
    counted = Counter(zip(reference.tolist(), candidate.tolist(), strict=True))
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [Pair(comparison.labels[was], comparison.labels[is_now], n) for (was, is_now), n in ranked]


def confusion(comparison: Comparison) -> Array:
    """Images by the reference's class (rows) and the candidate's (columns), int (classes, classes)."""
    reference, candidate = comparison.answers
    counts = np.zeros((len(comparison.labels),) * 2, int)
    np.add.at(counts, (reference, candidate), 1)
    return counts


def by_class(comparison: Comparison) -> list[ClassChange]:
    """Every class that has images, in the order of the classes."""
    reference, candidate = comparison.answers
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
    """What both networks give the reference's answer, float (N,) each, and whether the answer changed, bool (N,)."""
    rows = np.arange(len(comparison))
    reference, candidate = comparison.answers
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
    effect_of = {int(comparison.answers[1][index]): GAINED, int(comparison.answers[0][index]): LOST}
    return effect_of.get(comparison.true_classes[index], STILL_WRONG)


def _top3(row: Array, labels: Sequence[str]) -> tuple[Guess, ...]:
    best = np.argsort(-row, kind="stable")[:3]
    return tuple(Guess(labels[i], float(row[i])) for i in best.tolist())
