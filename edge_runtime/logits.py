"""Centred logits, recovered from the probabilities that a softmax made of them."""

from __future__ import annotations

import numpy as np

from edge_runtime.arrays import Array

SMALLEST_FLOAT32 = float(np.finfo(np.float32).smallest_subnormal)


def log_probabilities(probabilities: Array, step: float = 0.0, floor: float = SMALLEST_FLOAT32) -> Array:
    """Return natural logarithms, float64, of probabilities (..., classes).

    Args:
        probabilities: in 0..1.
        step: distance between neighbouring probabilities of an integer output; 0.0 for floats. Probabilities below
            half a step, 0 above all, count as half a step: the output cannot say more about them.
        floor: the least that a probability counts as, whatever the step.
    """
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, np.float64), max(step / 2, floor))))


def centred(logits: Array) -> Array:
    """Return logits (..., classes), float64, less each row's mean: all that a softmax depends on."""
    wide = np.asarray(logits, np.float64)
    return np.asarray(wide - wide.mean(axis=-1, keepdims=True))
