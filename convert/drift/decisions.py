"""How a row of probabilities becomes an answer, and when two answers are the same: one decision for each head.

Classes that exclude each other are answered by the most probable one, independent labels by the set of all that reach
the threshold. Arrays of answers are int (images,) or bool (images, labels); the truth about images has the same form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from convert.statistics import metrics
from edge_runtime.arrays import Array
from edge_runtime.specs import INDEPENDENT, SOFTMAX, THRESHOLD

TOP = 5


class Decision(ABC):
    """What drift has to know of a head.

    Attributes:
        rank: what its agreement and its drop are called in the reasons of a verdict.
        ranks: the k of the top-k accuracies that mean something.
    """

    rank: str
    ranks: tuple[int, ...]

    @abstractmethod
    def answers(self, probabilities: Array) -> Array:
        """Return the answer for each row (images, classes)."""

    @abstractmethod
    def same(self, one: Array, other: Array) -> Array:
        """Return for each image whether two answers, or an answer and the truth, are the same, bool (images,)."""

    @abstractmethod
    def right(self, probabilities: Array, truth: Array, k: int) -> Array:
        """Return for each row whether it is right, bool (images,); of ranked classes, whether in its top `k`."""

    @abstractmethod
    def confidence(self, probabilities: Array, answers: Array) -> Array:
        """Return the probability of each answer, float (images,)."""

    @abstractmethod
    def lead(self, probabilities: Array, other: Array) -> Array:
        """Return by how much probability each row's answer led what would have made it the `other`, float (images,)."""

    @abstractmethod
    def margin(self, probabilities: Array) -> Array:
        """Return by how much probability each row's answer leads the next best one, float (images,)."""

    @abstractmethod
    def divergence(self, reference: Array, candidate: Array, step: float) -> Array:
        """Return the Kullback-Leibler divergence of each row in nats, (images,)."""

    @abstractmethod
    def label_agreement(self, one: Array, other: Array) -> float | None:
        """Return how often two answers agree on a label, over all images and labels; None where only one can be."""

    @abstractmethod
    def name(self, answer: Any, labels: Sequence[str]) -> str:
        """Return an answer, an element of an array of answers, in words."""

    @abstractmethod
    def by_class(
        self, answers: tuple[Array, Array], truth: Array | None, labels: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Return entries of the report's `per_class`, in the order of the classes; accuracies are None without truth.

        `answers` are those of the reference and of the candidate.
        """

    @abstractmethod
    def changes(self, reference: Array, candidate: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return entries of the report's `confusion` for images whose answer changed, the most frequent first."""

    @abstractmethod
    def matrix(self, reference: Array, candidate: Array, classes: int) -> Array | None:
        """Count images by the reference's class (rows) and the candidate's (columns); None where they have no class."""


class MostProbable(Decision):
    """The most probable of classes that exclude each other; of equal ones the first."""

    rank, ranks = "top-1", (1, TOP)

    def answers(self, probabilities: Array) -> Array:
        """Return the index of the first class, int (images,)."""
        return np.asarray(probabilities.argmax(axis=1))

    def same(self, one: Array, other: Array) -> Array:
        """Return whether the classes are equal."""
        return np.asarray(one == other)

    def right(self, probabilities: Array, truth: Array, k: int) -> Array:
        """Return whether the true class is in the top `k`."""
        return metrics.hits_top_k(probabilities, truth, k)

    def confidence(self, probabilities: Array, answers: Array) -> Array:
        """Return the probabilities of these classes."""
        return np.asarray(probabilities[np.arange(len(answers)), answers])

    def lead(self, probabilities: Array, other: Array) -> Array:
        """Return how far the first class leads the second."""
        return metrics.margin(probabilities)

    def margin(self, probabilities: Array) -> Array:
        """Return how far the first class leads the second."""
        return metrics.margin(probabilities)

    def divergence(self, reference: Array, candidate: Array, step: float) -> Array:
        """Return the divergence of the distributions over the classes."""
        return metrics.kl_divergence(reference, candidate, step)

    def label_agreement(self, one: Array, other: Array) -> float | None:
        """Return None: one class says all about the others."""
        return None

    def name(self, answer: Any, labels: Sequence[str]) -> str:
        """Return the class's label."""
        return str(labels[answer])

    def by_class(
        self, answers: tuple[Array, Array], truth: Array | None, labels: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Return every class that has images; without truth they are those that the reference puts into it."""
        reference, candidate = answers
        classes = reference if truth is None else truth
        found = []
        for index in np.unique(classes).tolist():
            before, after = (each[classes == index] for each in (reference, candidate))
            hits = (None, None) if truth is None else (before == index, after == index)
            found.append(_of_class(labels[index], before == after, *hits))
        return found

    def changes(self, reference: Array, candidate: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return the pairs of different classes; those that are as frequent in the order of the classes."""
        counted = Counter(zip(reference.tolist(), candidate.tolist(), strict=True))
        ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
        return [
            {"reference": labels[before], "candidate": labels[after], "images": images}
            for (before, after), images in ranked
        ]

    def matrix(self, reference: Array, candidate: Array, classes: int) -> Array | None:
        """Return the counts, int (classes, classes)."""
        counts = np.zeros((classes, classes), int)
        np.add.at(counts, (reference, candidate), 1)
        return counts


class SetOfLabels(Decision):
    """All independent labels that reach the threshold, perhaps none; the whole set counts, so that no label is lost."""

    rank, ranks = "whole-set", (1,)

    def answers(self, probabilities: Array) -> Array:
        """Return which labels are there, bool (images, labels)."""
        return np.asarray(probabilities >= THRESHOLD)

    def same(self, one: Array, other: Array) -> Array:
        """Return whether the whole sets are equal."""
        return np.asarray(np.all(one == other, axis=1))

    def right(self, probabilities: Array, truth: Array, k: int) -> Array:
        """Return whether the whole set is the true one."""
        return self.same(self.answers(probabilities), truth)

    def confidence(self, probabilities: Array, answers: Array) -> Array:
        """Return the probability of the whole set, the product over its labels."""
        there = probabilities.astype(np.float64)
        return np.asarray(np.prod(np.where(answers, there, 1 - there), axis=1))

    def lead(self, probabilities: Array, other: Array) -> Array:
        """Return how far the surest label that differs from `other` was on its side, |p - (1 - p)|."""
        doubt = np.abs(2 * probabilities.astype(np.float64) - 1)
        return np.asarray(np.max(np.where(self.answers(probabilities) != other, doubt, 0.0), axis=1))

    def margin(self, probabilities: Array) -> Array:
        """Return how far the label in most doubt is on its side, |p - (1 - p)|."""
        return np.asarray(np.abs(2 * probabilities.astype(np.float64) - 1).min(axis=1))

    def divergence(self, reference: Array, candidate: Array, step: float) -> Array:
        """Return the divergence of the distributions over the sets, which is the sum of those of the labels."""
        p, q = (np.asarray(each, np.float64) for each in (reference, candidate))
        return metrics.kl_divergence(p, q, step) + metrics.kl_divergence(1 - p, 1 - q, step)

    def label_agreement(self, one: Array, other: Array) -> float | None:
        """Return the mean over the labels of how often both agree."""
        return float(np.mean(one == other))

    def name(self, answer: Any, labels: Sequence[str]) -> str:
        """Return the labels that are there, in their order."""
        return ", ".join(label for label, there in zip(labels, answer, strict=True) if there) or "no label"

    def by_class(
        self, answers: tuple[Array, Array], truth: Array | None, labels: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Return every label, over all images; `positives` are those that have it, by the reference without truth."""
        having = answers[0] if truth is None else truth
        found = []
        for index, label in enumerate(labels):
            before, after = (each[:, index] for each in answers)
            hits = (None, None) if truth is None else (before == truth[:, index], after == truth[:, index])
            found.append({**_of_class(label, before == after, *hits), "positives": int(having[:, index].sum())})
        return found

    def changes(self, reference: Array, candidate: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return the labels that went and those that came; a changed set counts once for each of them."""
        counted: list[tuple[str, str, int]] = []
        for index, label in enumerate(labels):
            before, after = reference[:, index], candidate[:, index]
            counted.append((label, f"not {label}", int(np.sum(before & ~after))))
            counted.append((f"not {label}", label, int(np.sum(~before & after))))
        ranked = sorted((each for each in counted if each[2]), key=lambda each: -each[2])
        return [{"reference": before, "candidate": after, "images": images} for before, after, images in ranked]

    def matrix(self, reference: Array, candidate: Array, classes: int) -> Array | None:
        """Return None: sets are too many for a table."""
        return None


def _of_class(label: str, agreed: Array, before: Array | None, after: Array | None) -> dict[str, Any]:
    """Return an entry of `per_class`: whether both agree, and whether each is right, bool (images,) or None."""
    images = len(agreed)
    return {
        "label": label,
        "images": images,
        "agreement": int(agreed.sum()) / images,
        "top1_reference": None if before is None else int(before.sum()) / images,
        "top1_candidate": None if after is None else int(after.sum()) / images,
    }


DECISIONS: dict[str, Decision] = {SOFTMAX: MostProbable(), INDEPENDENT: SetOfLabels()}
"""Head -> how it is decided."""
