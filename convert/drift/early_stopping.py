"""Stop comparing two models at the first image at which the verdict is certain."""

from __future__ import annotations

import numpy as np

from convert.drift.figures import TOP
from convert.drift.predictions import Predictor, class_order
from convert.images.dataset import ImageSet
from convert.statistics.metrics import hits_top_k
from convert.statistics.verdict import DiscordantPairs, Limits, PairedCounts, is_certain
from edge_runtime.arrays import Array


class EarlyStopping:
    """A sequential test, for `predict_both`'s `enough`; `counts` are those of the images seen so far."""

    def __init__(self, reference: Predictor, candidate: Predictor, images: ImageSet, limits: Limits) -> None:
        self.limits, self.order = limits, class_order(reference.labels, candidate.labels)
        self.classes = images.class_indices(reference.labels)
        top1 = None if self.classes is None else DiscordantPairs(0, 0)
        self.counts = PairedCounts(0, 0, top1, top1 if len(reference.labels) > TOP else None)

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
