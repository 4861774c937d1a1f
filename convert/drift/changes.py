"""What changed, image by image, class by class and pair by pair, as it stands in a report."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from convert.drift import comparison as counts
from convert.drift.comparison import Comparison, Guess
from convert.statistics import metrics

MOST_FLIPS_LISTED = 100
MOST_PAIRS_LISTED = 100
NEAR_TIE = 0.1
"""A flip is a near-tie where the reference's first class led its second by less probability than this, else confident:
of a near-tie the reference itself was in doubt, a confident one is what a user notices."""


def flips(comparison: Comparison) -> list[dict[str, Any]]:
    """The images whose first class changed, the most confident of the reference first."""
    return [
        {
            "image": str(flip.path),
            "reference": _guess(flip.reference[0]),
            "candidate": _guess(flip.candidate[0]),
            "label": flip.true_label,
            "reference_top3": [_guess(guess) for guess in flip.reference],
            "candidate_top3": [_guess(guess) for guess in flip.candidate],
        }
        for flip in counts.flips(comparison, MOST_FLIPS_LISTED)
    ]


def flip_counts(comparison: Comparison) -> tuple[int, int]:
    """How many flips are near-ties and how many are confident, see `NEAR_TIE`."""
    near = metrics.margin(comparison.before[comparison.changed]) < NEAR_TIE
    return int(np.sum(near)), int(np.sum(~near))


def per_class(comparison: Comparison) -> list[dict[str, Any]]:
    """Agreement, and with labels accuracy, of each class that has images; see `counts.by_class`."""
    return [
        {
            "label": change.label,
            "images": change.images,
            "agreement": change.agreed / change.images,
            "top1_reference": None if change.right_reference is None else change.right_reference / change.images,
            "top1_candidate": None if change.right_candidate is None else change.right_candidate / change.images,
        }
        for change in counts.by_class(comparison)
    ]


def confusion(comparison: Comparison) -> list[dict[str, Any]]:
    """The pairs of different first classes, the most frequent first, then in the order of the labels."""
    return [asdict(pair) for pair in counts.changed_pairs(comparison)[:MOST_PAIRS_LISTED]]


def _guess(guess: Guess) -> dict[str, Any]:
    return {"label": guess.label, "probability": guess.probability}
