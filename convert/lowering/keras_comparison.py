"""Compare a float `.tflite` with the Keras network that it was made from, by their logits on real images."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from convert.errors import LoweringError
from convert.keras_models.heads import before_activation
from convert.statistics.metrics import MAXIMUM_SQNR_DB, sqnr_db
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, logits_tensor, run_over
from edge_runtime.arrays import Array
from edge_runtime.specs import INDEPENDENT, SOFTMAX
from edge_runtime.tensors import centred

MINIMUM_SQNR_DB = 80.0
"""Below this the float model is another network: float32 rounding alone leaves well over 100 dB."""
MINIMUM_SPREAD = 1e-3
"""Standard deviation of the logits over the classes below which every answer is a coin toss."""


def keras_logits(model: Any, images: Array) -> Array:
    """Return the logits before a Keras model's softmax or sigmoids: float32 (N, classes) for (N, height, width, 3)."""
    until_logits = keras.Model(model.input, before_activation(model.outputs[0]))
    at_once = until_logits.inputs[0].shape[0] or 1  # Keras keeps the outputs of all layers until the last
    batches = [images[i : i + at_once] for i in range(0, len(images), at_once)]
    rows = [np.asarray(until_logits(batch, training=False)) for batch in batches]  # not traced, which takes seconds
    return np.concatenate(rows).reshape(len(images), -1).astype(np.float32)


def tflite_logits(model: bytes, images: Array) -> Array:
    """Return the logits before a `.tflite`'s softmax or sigmoids: float32 (N, classes) for (N, height, width, 3)."""
    engine, logits = RecordingEngine(model), logits_tensor(TfliteGraph(model))
    rows = [engine.tensor(logits).reshape(-1) for _ in run_over(engine, images)]
    return np.stack(rows).astype(np.float32)


def checked_sqnr_db(expected: Array, found: Array, head: str = SOFTMAX) -> float:
    """Return the SQNR in decibels of `found` against `expected` logits (N, classes).

    They are centred per image, which is all that a softmax depends on, unless the labels are independent.

    Raises:
        LoweringError: it is below 80 dB, or the logits hardly vary: near-uniform outputs agree even where they are
            wrong.
    """
    if not np.all(np.isfinite(expected)):
        raise LoweringError(
            "the Keras network outputs NaN or infinity for real images: its weights are broken, pass those of a "
            "training that did not diverge"
        )
    expected, found = (logits if head == INDEPENDENT else centred(logits) for logits in (expected, found))
    spread = float(expected.std())
    if spread < MINIMUM_SPREAD:
        raise LoweringError(
            f"the network's logits vary by only {spread:.1e} over its classes, so its answers mean nothing: "
            "check the weights and --preprocessing"
        )
    sqnr = sqnr_db(expected, found)
    if not sqnr >= MINIMUM_SQNR_DB:
        raise LoweringError(
            f"float TFLite and Keras logits agree to {sqnr:.1f} dB only, at least {MINIMUM_SQNR_DB:.0f} dB are "
            "required: a layer of this network is not lowered faithfully; please report it"
        )
    return min(sqnr, MAXIMUM_SQNR_DB)
