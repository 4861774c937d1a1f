"""Whether labels stand in the order of the network's classes: a wrong order raises no error, it gives wrong names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from convert.images.dataset import ImageSet, matches, shortened
from convert.statistics.metrics import binomial_tail
from edge_runtime.arrays import Array

FIRST_TO_DIFFER = 10
"""The first number whose place is another when names are sorted as text: 0, 1, 10, 11, 2."""

CHANCE = 0.05
"""Answers that are right as often as this by guessing, or more often, are at chance."""

FEWEST_IMAGES = 20
MOST_SHOWN = 6
FAR_BETTER = 2.0
FEWEST_RIGHT = 0.25
"""Another reading of a network is suggested if it is so many times as accurate, or has half the errors, and is right on
at least so many images."""


@dataclass(frozen=True)
class Order:
    """An order in which a training tool may have put the classes.

    Attributes:
        name: as in "sorted as text".
        classes: the index of each label among the network's classes.
        labels: the labels in that order.
    """

    name: str
    classes: tuple[int, ...]
    labels: tuple[str, ...]

    @property
    def option(self) -> str:
        """Return what to pass."""
        return f"--labels FILE in this order, the folders {self.name}: {shortened(self.labels, MOST_SHOWN)}"


def orders(folders: Sequence[str], labels: Sequence[str]) -> Iterator[Order]:
    """Yield the usual orders of the classes, except for that of the labels.

    Names are those of the folders where every label has one, since those are what a training tool sorts.
    """
    found = matches(sorted(set(folders)), labels)
    folder_of = {indices[0]: folder for folder, indices in found.items() if len(indices) == 1}
    names = [folder_of.get(i, label) for i, label in enumerate(labels)]
    if len(folder_of) < len(labels):
        names = list(labels)
    tried = {tuple(range(len(labels)))}
    for name, key in ORDERS.items():
        by_class = sorted(range(len(labels)), key=lambda i: key(names[i]))
        places = tuple(int(place) for place in np.argsort(by_class))
        if places not in tried:
            tried.add(places)
            yield Order(name, places, tuple(names[i] for i in by_class))
    if len(labels) == 2 and (1, 0) not in tried:
        yield Order("the other way round", (1, 0), (names[1], names[0]))


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which "cat 2" comes before "cat 10"."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


ORDERS = {
    "sorted as text": lambda name: name,
    "sorted as text, whatever their case": str.lower,
    "sorted by their numbers": _natural,
}
"""How training tools order class folders: what to call it, and the key to sort by; `image_dataset_from_directory`,
`flow_from_directory` and torchvision's `ImageFolder` sort as text."""


def folder_notes(images: ImageSet, labels: Sequence[str], given: bool) -> Iterator[str]:
    """Say what may be wrong with the labels of class folders; they are numbers unless they were `given`."""
    if images.folders is None:
        return
    missing = images.without_folder(labels)
    if missing:
        yield f"{images.root}: no folder for {len(missing)} of {len(labels)} labels: {shortened(missing, MOST_SHOWN)}"
    if not given and len(labels) > FIRST_TO_DIFFER:
        yield (
            f"labels are the numbers 0 to {len(labels) - 1}, since there is no --labels; most training tools sort "
            "folders as text (0, 1, 10, 11, 2): if yours did, pass --labels FILE with the folders in that order"
        )


@dataclass(frozen=True)
class Labelled:
    """Images whose classes are known, and the names involved.

    Attributes:
        classes: the true class of each, as an index of `labels`.
        folders: the names of all class folders.
    """

    classes: tuple[int, ...]
    folders: tuple[str, ...]
    labels: tuple[str, ...]

    def right(self, answers: Array) -> Array:
        """Return which of the classes answered, (N,), are the true ones, bool (N,)."""
        return np.asarray(answers == np.asarray(self.classes))

    def accuracy(self, answers: Array) -> float:
        """Return how many of the classes answered, (N,), are the true ones."""
        return float(np.mean(self.right(answers)))

    @property
    def says_something(self) -> bool:
        """Return whether there are images of several classes: a network that always answers one is right on its own."""
        return len(set(self.classes)) > 1

    def right_in(self, order: Order, answers: Array) -> Array:
        """Return which of the classes answered, (N,), are the true ones where labels have another order, bool (N,)."""
        return np.asarray(answers == np.asarray(order.classes)[np.asarray(self.classes)])

    def is_chance(self, accuracy: float) -> bool:
        """Return whether guessing, or always answering the same class, may well be right as often.

        A few images, or those of one class, tell nothing.
        """
        most_frequent = float(np.bincount(np.asarray(self.classes)).max()) / len(self.classes)
        if most_frequent == 1 or len(self.classes) < FEWEST_IMAGES:
            return False
        right = round(accuracy * len(self.classes))
        return binomial_tail(right, len(self.classes), max(most_frequent, 1 / len(self.labels))) > CHANCE

    def best_order(self, answers: Array) -> tuple[float, Order] | None:
        """Return the order of labels, other than theirs, in which most answers are right, and how many are."""
        tried = orders(self.folders, self.labels)
        found = [(float(np.mean(self.right_in(order, answers))), order) for order in tried]
        return max(found, key=lambda pair: pair[0], default=None)

    def at_chance(self, accuracy: float) -> str:
        """Say that a network guesses."""
        return (
            f"right on {accuracy:.0%} of {len(self.classes)} labelled images, which is chance for "
            f"{f'{len(set(self.folders))} folders and ' if self.folders else ''}{len(self.labels)} labels"
        )


@dataclass(frozen=True)
class LabelledSets:
    """Images of which the independent labels are known, bool (images, labels): their order is not in question."""

    truth: Array
    says_something = True

    def right_in(self, order: Order, answers: Array) -> Array:
        """Return which of the sets answered are the true ones, whatever the order, bool (images,)."""
        return self.right(answers)

    def right(self, answers: Array) -> Array:
        """Return which of the sets answered, bool (images, labels), are the true ones, bool (images,)."""
        return np.asarray(np.all(answers == self.truth, axis=1))

    def accuracy(self, answers: Array) -> float:
        """Return how many of the sets answered, bool (images, labels), are the true ones."""
        return float(np.mean(self.right(answers)))

    def is_chance(self, accuracy: float) -> bool:
        """Return False: how often guessing is right depends on how rare the labels are."""
        return False

    def at_chance(self, accuracy: float) -> str:
        """Say how often a network is right."""
        return f"right on {accuracy:.0%} of {len(self.truth)} labelled images"

    def best_order(self, answers: Array) -> tuple[float, Order] | None:
        """Return None: no order is tried."""
        return None


def is_far_better(found: float, given: float) -> bool:
    """Return whether one accuracy is so much better than another that something else must be wrong than the network."""
    return found >= max(FEWEST_RIGHT, min(FAR_BETTER * given, (1 + given) / 2))
