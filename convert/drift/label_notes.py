"""What may be wrong with the labels of images that a float network was run over, told by its answers."""

from __future__ import annotations

from collections.abc import Iterator

from convert.drift.predictions import Predictions, true_answers
from convert.images.dataset import ImageSet, shortened
from convert.images.label_order import MOST_SHOWN, Labelled, is_far_better
from edge_runtime.specs import SOFTMAX


def label_notes(reference: Predictions, images: ImageSet) -> Iterator[str]:
    """Say of labelled images which labels have none, and whether the reference guesses, or has another order."""
    missing = images.without_folder(reference.labels) if reference.head == SOFTMAX else []
    if missing:
        yield f"no folder for {len(missing)} of {len(reference.labels)} labels: {shortened(missing, MOST_SHOWN)}"
    yield from guess_notes(reference, images)


def guess_notes(reference: Predictions, images: ImageSet) -> Iterator[str]:
    """Say if a float network is right no more often than by chance, or far more often with labels in another order.

    Nothing is said without labels, which folders or a file give, and of independent ones, whose chance is not known.
    """
    classes = true_answers(images, reference) if reference.head == SOFTMAX else None
    if classes is None:
        return
    labelled, answers = (
        Labelled(tuple(map(int, classes)), images.folders or (), reference.labels),
        reference.probabilities.argmax(axis=1),
    )
    given, better = labelled.accuracy(answers), labelled.best_order(answers)
    if better is not None and is_far_better(better[0], given):
        yield (
            f"warning: the reference is right on {given:.0%} of {len(classes)} labelled images, and on {better[0]:.0%} "
            f"with {better[1].option}"
        )
    elif labelled.is_chance(given):
        yield f"warning: the reference is {labelled.at_chance(given)}: check --preprocessing and the order of --labels"
