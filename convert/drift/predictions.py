"""Predictions of one model for a set of images, the two loops that make them, and how two models' classes match."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from convert.errors import ImageSetError
from convert.images.dataset import ImageSet
from convert.images.reader import refuse_unreadable
from convert.system.content import content_sha256
from convert.system.progress import Progress
from edge_runtime import ArtifactError, EngineError, InputSpec
from edge_runtime.arrays import Array
from edge_runtime.specs import SOFTMAX

Rows = Iterator[tuple[int, Array]]
"""Index of an image in its set, and its probabilities, float32 (classes,)."""

MOST_SHOWN = 6
"""Labels that only one of two models has, in a message."""


@dataclass(frozen=True)
class Predictions:
    """Probabilities of one model, float32 (N, classes), for the images at `paths`, and the labels of its classes.

    `skipped` has a message for each image that could not be read; `step` and `head` are those of the `Classifier`.
    """

    paths: tuple[Path, ...]
    probabilities: Array
    labels: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    step: float = 0.0
    head: str = SOFTMAX

    def first(self, count: int) -> Predictions:
        """Return the predictions for the first `count` images."""
        return replace(self, paths=self.paths[:count], probabilities=self.probabilities[:count])


@dataclass(frozen=True, kw_only=True)
class Predictor(ABC):
    """A model that predicts images, or predictions that were stored.

    `step` and `head` are those of the `Classifier`. `keras_sqnr_db` is the SQNR against the Keras network that the
    model was lowered from, in dB, or None if unknown. `remarks` is `Receipt.remarks`.
    """

    path: Path
    labels: tuple[str, ...]
    spec: InputSpec
    step: float = 0.0
    keras_sqnr_db: float | None = None
    head: str = SOFTMAX
    remarks: tuple[str, ...] = ()

    def file_sha256(self) -> str:
        """Return the SHA-256 of the model's whole file, which of an artifact includes the card."""
        return content_sha256(self.path)

    @abstractmethod
    def rows(self, images: ImageSet, skipped: list[str]) -> Rows:
        """Yield the predictions in the order of the set; append a message to `skipped` for an unreadable image."""


def predict_all(predictor: Predictor, images: ImageSet, progress: Progress, name: str) -> Predictions:
    """Predict every readable image of a set, in its order; `name` is that of the stage.

    Raises:
        ImageSetError: more than a tenth of the images, or all of them, cannot be read.
        EngineError: a probability is NaN or infinite.
    """
    skipped: list[str] = []
    rows = list(progress.track(_finite_rows(predictor, images, skipped), name, len(images)))
    predictions = _stacked(predictor, images, rows, skipped)
    refuse_too_few(predictions, images)
    return predictions


def predict_both(
    reference: Predictor,
    candidate: Predictor,
    images: ImageSet,
    progress: Progress,
    name: str,
    enough: Callable[[int, Array, Array], bool] | None = None,
) -> tuple[Predictions, Predictions]:
    """Let two models predict the same images in step; only images that both can read count.

    How many could not be read is left to the caller to judge, see `refuse_too_few`. `enough` is called after each image
    with its index and both rows, and ends the run by returning True; the set is shuffled then. A probability that is
    NaN or infinite is an `EngineError`.
    """
    skipped: tuple[list[str], list[str]] = [], []
    both = _in_step(_finite_rows(reference, images, skipped[0]), _finite_rows(candidate, images, skipped[1]))
    found = []
    for index, p, q in progress.track(both, name, len(images)):
        found.append((index, p, q))
        if enough is not None and enough(index, p, q):
            break
    return (
        _stacked(reference, images, [(index, p) for index, p, _ in found], skipped[0]),
        _stacked(candidate, images, [(index, q) for index, _, q in found], skipped[1]),
    )


def refuse_too_few(predictions: Predictions, images: ImageSet) -> None:
    """Raise `ImageSetError` if more than a tenth of the images, or all of them, could not be read."""
    refuse_unreadable(predictions.skipped, images)
    if not predictions.paths:
        raise ImageSetError(f"no image in {images.root} could be read: pass others")


def class_order(labels: Sequence[str], candidate: Sequence[str]) -> list[int]:
    """Return for each of the reference's `labels` its column in the candidate's predictions.

    Labels of other classes are an `ArtifactError`.
    """
    if sorted(labels) != sorted(candidate):
        different = sorted(set(labels) ^ set(candidate))
        shown = ", ".join([*map(repr, different[:MOST_SHOWN]), *(["..."] if len(different) > MOST_SHOWN else [])])
        raise ArtifactError(
            f"reference and candidate do not have the same classes, only one of them has [{shown}]: compare models "
            "with the same labels, and pass --labels FILE for one without a card"
        )
    column = {label: i for i, label in enumerate(candidate)}
    return [column[label] for label in labels]


def refuse_other_head(reference: str, candidate: str) -> None:
    """Raise `ArtifactError` unless two models have the same head: their answers could not be compared."""
    if reference != candidate:
        raise ArtifactError(
            f"the reference has a head of kind {reference}, the candidate one of kind {candidate}: compare models "
            "whose labels both exclude each other, or are both independent"
        )


def true_answers(images: ImageSet, predictions: Predictions) -> Sequence[int] | Array | None:
    """Return what each predicted image shows, as `ImageSet.truth` does; None if neither folders nor a file say it."""
    truth = images.truth(predictions.labels, predictions.head)
    if truth is None:
        return None
    row_of = {path: row for row, path in enumerate(images.paths)}
    rows = [row_of[path] for path in predictions.paths]
    return [truth[row] for row in rows] if isinstance(truth, list) else truth[rows]


def _finite_rows(predictor: Predictor, images: ImageSet, skipped: list[str]) -> Rows:
    for index, row in predictor.rows(images, skipped):
        if not np.isfinite(row).all():
            raise EngineError(f"{predictor.path} answers {images.paths[index]} with NaN or infinity: convert it again")
        yield index, row


def _in_step(reference: Rows, candidate: Rows) -> Iterator[tuple[int, Array, Array]]:
    """Yield both rows of each index that both have; both are read to their ends, so that each skips what it must."""
    left, right = next(reference, None), next(candidate, None)
    while left is not None or right is not None:
        if left is not None and right is not None and left[0] == right[0]:
            yield left[0], left[1], right[1]
            left, right = next(reference, None), next(candidate, None)
        elif right is None or (left is not None and left[0] < right[0]):
            left = next(reference, None)
        else:
            right = next(candidate, None)


def _stacked(
    predictor: Predictor, images: ImageSet, rows: Sequence[tuple[int, Array]], skipped: Sequence[str]
) -> Predictions:
    probabilities = np.array([row for _, row in rows], np.float32).reshape(-1, len(predictor.labels))
    paths = tuple(images.paths[index] for index, _ in rows)
    return Predictions(paths, probabilities, predictor.labels, tuple(skipped), predictor.step, predictor.head)
