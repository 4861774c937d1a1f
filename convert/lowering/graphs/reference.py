"""Answers of a foreign graph itself, which its float `.tflite` is compared with, and doubts about them."""

from __future__ import annotations

import numpy as np

from convert.errors import LoweringError
from convert.lowering.graphs.graph_ends import LOGITS, GraphEnd
from edge_runtime.arrays import Array

LARGEST_DIFFERENCE = 1e-4
"""Between what a graph answers and what its logits stand for, both float32; of log-probabilities, relative."""


def checked_logits(end: GraphEnd, logits: Array, answers: Array, name: str) -> Array:
    """Return the logits (images, classes) of the rewritten graph, given what the graph itself computes.

    Args:
        logits: what the graph's own activation reads, (images, numbers).
        answers: what the graph answers, (images, numbers).

    Raises:
        LoweringError: the answers are not what that activation makes of those logits, or they are probabilities where
            no activation was found.
    """
    found, ours = np.asarray(answers, np.float64), end.logits_of(logits)
    expected = end.answers_of(ours)
    scale = np.maximum(np.abs(expected), 1)
    if np.all(np.isfinite(found)) and not np.all(np.abs(found - expected) <= LARGEST_DIFFERENCE * scale):
        raise LoweringError(f"the end of {name} is not what it seems ({end.kind}); please report it")
    if end.kind == LOGITS and np.all(found >= 0) and np.allclose(found.sum(axis=1), 1, atol=1e-3):
        raise LoweringError(
            f"{name} answers probabilities, but by operators that are not known as a softmax: convert the network "
            "from before them"
        )
    return ours
