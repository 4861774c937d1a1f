"""Reference and candidate answer the same images side by side, so that a run can end when its verdict is certain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from convert.drift.drift import TOP, Predictions, class_order
from convert.drift.models import Predictor
from convert.errors import ImageSetError
from convert.images.dataset import ImageSet
from convert.statistics.metrics import hits_top_k
from convert.statistics.verdict import DiscordantPairs, Limits, PairedCounts, is_certain
from convert.system.progress import Progress
from edge_runtime.arrays import Array

Rows = Iterator[tuple[int, Array]]


class Watch(Protocol):
    """Looks at each image; true when no more are needed."""

    def __call__(self, index: int, reference: Array, candidate: Array, /) -> bool: ...


def never(index: int, reference: Array, candidate: Array) -> bool:
    """A watch that wants all images."""
    return False


@dataclass
class EarlyStopping:
    """A watch that ends the run at the first image at which the verdict is certain.

    Attributes:
        limits: of the gate.
        order: for each class of the reference its column in the candidate's answers.
        truth: for each image of the set the index of its class among the reference's, or None.
        tally: what was seen so far.
    """

    limits: Limits
    order: Sequence[int]
    truth: Sequence[int] | None
    tally: PairedCounts

    @classmethod
    def of(cls, reference: Predictor, candidate: Predictor, images: ImageSet, limits: Limits) -> EarlyStopping:
        """A watch over two sides that answer `images`."""
        truth = images.class_indices(reference.labels)
        top1 = None if truth is None else DiscordantPairs(0, 0)
        top5 = top1 if len(reference.labels) > TOP else None
        return cls(limits, class_order(reference.labels, candidate.labels), truth, PairedCounts(0, 0, top1, top5))

    def __call__(self, index: int, reference: Array, candidate: Array) -> bool:
        p, q = reference, candidate[self.order]
        seen = self.tally
        top1, top5 = (
            None if change is None or self.truth is None else _with(change, p, q, self.truth[index], k)
            for change, k in ((seen.top1, 1), (seen.top5, TOP))
        )
        self.tally = PairedCounts(seen.images + 1, seen.agreed + bool(p.argmax() == q.argmax()), top1, top5)
        return is_certain(self.tally, self.limits)


def _with(change: DiscordantPairs, p: Array, q: Array, true_class: int, k: int) -> DiscordantPairs:
    """`change` with one image more."""
    was, is_now = (bool(hits_top_k(row[np.newaxis], np.array([true_class]), k)[0]) for row in (p, q))
    return DiscordantPairs(change.lost + (was and not is_now), change.gained + (is_now and not was))


def predict_both(
    reference: Predictor, candidate: Predictor, images: ImageSet, watch: Watch, progress: Progress
) -> tuple[Predictions, Predictions]:
    """The answers of both sides to the images that both can read, up to the one at which `watch` has seen enough.

    Args:
        reference, candidate: what answers.
        images: in the order to run them; a watch needs a shuffle.
        watch: asked after each image.
        progress: told of each image.

    Raises:
        ImageSetError: more than a tenth of the images, or all of them, cannot be read.
    """
    indices, reference_rows, candidate_rows = [], [], []
    both = in_step(reference.rows(images), candidate.rows(images))
    for index, p, q in progress.track(both, "comparing", len(images)):
        indices.append(index)
        reference_rows.append(p)
        candidate_rows.append(q)
        if watch(index, p, q):
            break
    if not indices:
        raise ImageSetError(f"no image in {images.root} could be read")
    paths = tuple(images.paths[i] for i in indices)
    return (
        Predictions(paths, np.stack(reference_rows), reference.labels, step=reference.step),
        Predictions(paths, np.stack(candidate_rows), candidate.labels, step=candidate.step),
    )


def in_step(reference: Rows, candidate: Rows) -> Iterator[tuple[int, Array, Array]]:
    """What both have of each index; both are read to their ends, where they complain about what they could not read."""
    left, right = next(reference, None), next(candidate, None)
    while left is not None or right is not None:
        if left is not None and right is not None and left[0] == right[0]:
            yield left[0], left[1], right[1]
            left, right = next(reference, None), next(candidate, None)
        elif right is None or (left is not None and left[0] < right[0]):
            left = next(reference, None)
        else:
            right = next(candidate, None)
