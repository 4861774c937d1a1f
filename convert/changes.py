"""What changed, image by image, class by class and pair by pair: the tables of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert import metrics

Array = npt.NDArray[Any]
MOST_FLIPS_LISTED = 100
MOST_PAIRS_LISTED = 100
BEST_LISTED = 3
NEAR_TIE = 0.1
"""A flip is a near-tie where the reference's first class led its second by less probability than this, else confident:
of a near-tie the reference itself was in doubt, a confident one is what a user notices."""


def flips(
    paths: Sequence[Path], labels: Sequence[str], reference: Array, candidate: Array, truth: Sequence[int] | None
) -> list[dict[str, Any]]:
    """The images whose first class changed, the most confident of the reference first.

    Args:
        paths: of the images.
        labels: of the classes.
        reference, candidate: probabilities (N, classes).
        truth: for each image the index of its class, or None.
    """
    changed = np.flatnonzero(reference.argmax(axis=1) != candidate.argmax(axis=1))
    changed = changed[np.argsort(-reference[changed].max(axis=1), kind="stable")][:MOST_FLIPS_LISTED]

    def best(row: Array) -> list[dict[str, Any]]:
        order = np.argsort(-row, kind="stable")[:BEST_LISTED]
        return [{"label": labels[int(i)], "probability": float(row[i])} for i in order]

    return [
        {
            "image": str(paths[i]),
            "reference": best(reference[i])[0],
            "candidate": best(candidate[i])[0],
            "label": None if truth is None else labels[truth[i]],
            "reference_top3": best(reference[i]),
            "candidate_top3": best(candidate[i]),
        }
        for i in map(int, changed)
    ]


def flip_counts(reference: Array, candidate: Array) -> tuple[int, int]:
    """How many flips are near-ties and how many are confident, see `NEAR_TIE`; probabilities (N, classes)."""
    changed = reference.argmax(axis=1) != candidate.argmax(axis=1)
    near = metrics.margin(reference) < NEAR_TIE
    return int(np.sum(changed & near)), int(np.sum(changed & ~near))


def per_class(
    labels: Sequence[str], reference: Array, candidate: Array, truth: Sequence[int] | None
) -> list[dict[str, Any]]:
    """Agreement, and with labels accuracy, of each class that has images; classes are the true ones, or else the
    reference's first ones. Arguments as of `flips`."""
    p, q = reference.argmax(axis=1), candidate.argmax(axis=1)
    classes = p if truth is None else np.asarray(truth)
    rows = []
    for index in np.unique(classes):
        of_class = classes == index
        accuracy = [None if truth is None else float(np.mean(x[of_class] == index)) for x in (p, q)]
        rows.append(
            {
                "label": labels[int(index)],
                "images": int(of_class.sum()),
                "agreement": float(np.mean(p[of_class] == q[of_class])),
                "top1_reference": accuracy[0],
                "top1_candidate": accuracy[1],
            }
        )
    return rows


def confusion(labels: Sequence[str], reference: Array, candidate: Array) -> list[dict[str, Any]]:
    """The pairs of different first classes, the most frequent first, then in the order of the labels."""
    pairs = zip(reference.argmax(axis=1).tolist(), candidate.argmax(axis=1).tolist(), strict=True)
    counts = sorted(Counter(pair for pair in pairs if pair[0] != pair[1]).items(), key=lambda item: (-item[1], item[0]))
    return [{"reference": labels[p], "candidate": labels[q], "images": n} for (p, q), n in counts[:MOST_PAIRS_LISTED]]
