"""Stop comparing two models at the first image at which the verdict is certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convert.drift.figures import TOP
from convert.drift.predictions import Predictor, class_order
from convert.images.dataset import ImageSet
from convert.statistics.metrics import hits_top_k
from convert.statistics.verdict import DiscordantPairs, Limits, PairedCounts, is_certain
from edge_runtime.arrays import Array


@dataclass
class EarlyStopping:
    """A sequential test over the images, for `predict_both`'s `enough`.

    Attributes:
        limits: of the gate.
        order: for each class of the reference its column in the candidate's predictions.
        classes: for each image of the set the index of its class among the reference's labels, or None.
        counts: the images seen so far.
    """

    limits: Limits
    order: Sequence[int]
    classes: Sequence[int] | None
    counts: PairedCounts

    @classmethod
    def for_models(cls, reference: Predictor, candidate: Predictor, images: ImageSet, limits: Limits) -> EarlyStopping:
        """Begin a test of two models that predict `images`.

        Raises:
            ArtifactError: the two do not have the same classes.
            ImageSetError: a class folder matches no label.
        """
        classes = images.class_indices(reference.labels)
        top1 = None if classes is None else DiscordantPairs(0, 0)
        top5 = top1 if len(reference.labels) > TOP else None
        return cls(limits, class_order(reference.labels, candidate.labels), classes, PairedCounts(0, 0, top1, top5))

    def __call__(self, index: int, reference: Array, candidate: Array) -> bool:
        """Count one image, and return whether the verdict is certain."""
        p, q = reference, candidate[self.order]
        seen = self.counts
        top1, top5 = (
            None if change is None or self.classes is None else _with_image(change, p, q, self.classes[index], k)
            for change, k in ((seen.top1, 1), (seen.top5, TOP))
        )
        self.counts = PairedCounts(seen.images + 1, seen.agreed + bool(p.argmax() == q.argmax()), top1, top5)
        return is_certain(self.counts, self.limits)


def _with_image(change: DiscordantPairs, p: Array, q: Array, true_class: int, k: int) -> DiscordantPairs:
    """Return `change` with one more image counted."""
    was, is_now = (bool(hits_top_k(row[np.newaxis], np.array([true_class]), k)[0]) for row in (p, q))
    return DiscordantPairs(change.lost + (was and not is_now), change.gained + (is_now and not was))
