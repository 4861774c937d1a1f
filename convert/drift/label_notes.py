"""What may be wrong with the labels of images that a float network was run over, told by its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache

import numpy as np

from convert.drift.models import ModelPredictor
from convert.drift.predictions import Predictions, Predictor, true_answers
from convert.images.dataset import ImageSet, shortened
from convert.images.label_order import MOST_SHOWN, Labelled, is_far_better
from convert.images.preprocessing_check import Reading, other_reading
from edge_runtime import Classifier, InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels
from edge_runtime.specs import SOFTMAX


def missing_labels(reference: Predictions, images: ImageSet) -> Iterator[str]:
    """Say which labels of the reference have no folder of images."""
    missing = images.without_folder(reference.labels) if reference.head == SOFTMAX else []
    if missing:
        yield f"no folder for {len(missing)} of {len(reference.labels)} labels: {shortened(missing, MOST_SHOWN)}"


def label_warnings(network: Predictor, reference: Predictions, images: ImageSet) -> Iterator[str]:
    """Say of labelled images whether the reference guesses, or is read in a wrong way.

    `reference` has what the `network` answers.
    """
    other = _other_reading(network, images)
    if other is None or not other.is_worth_a_note or other.is_order_alone:
        yield from guess_warnings(reference, images)
    else:
        yield other.words("the reference")


def _other_reading(network: Predictor, images: ImageSet) -> Reading | None:
    """Return a better way to read a reference of which the user said how its images were prepared, and not its file."""
    if not isinstance(network, ModelPredictor) or not network.is_told or network.classifier.input_tensor.scale:
        return None

    model, labels = network.classifier.model.path, network.labels
    with ExitStack() as opened:

        @cache
        def classifier() -> Classifier:
            return opened.enter_context(
                Classifier.open(model, engine="litert", delegate="cpu", spec=network.spec, labels=labels)
            )

        def scores(tried: InputSpec, pixels: Sequence[Pixels]) -> Array:
            classifier().spec = tried
            return np.stack([classifier().run(each) for each in pixels])

        return other_reading(scores, network.spec, labels, images, network.head)


def guess_warnings(reference: Predictions, images: ImageSet) -> Iterator[str]:
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
    if better is not None and labelled.says_something and is_far_better(better[0], given):
        yield (
            f"the reference is right on {given:.0%} of {len(classes)} labelled images, and on {better[0]:.0%} "
            f"with {better[1].option}"
        )
    elif labelled.is_chance(given):
        yield f"the reference is {labelled.at_chance(given)}: check --preprocessing and the order of --labels"
