"""An interpreter whose intermediate tensors can be read: for calibration and for logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convert.errors import LoweringError
from convert.tflite.graph import TfliteGraph
from edge_runtime.arrays import Array
from edge_runtime.engines import Engine, choose_engine


class RecordingEngine(Engine):
    """LiteRT that keeps every tensor after a run."""

    def __init__(self, model: Path | bytes, threads: int | None = None) -> None:
        options = {"experimental_preserve_all_tensors": True}
        super().__init__(model, choose_engine("litert"), threads, options=options)

    def tensor(self, index: int) -> Array:
        """Return a copy of a tensor of the last run."""
        return np.asarray(self._interpreter.get_tensor(index))


def logits_tensor(graph: TfliteGraph) -> int:
    """Return the index of the tensor that the last softmax reads.

    Raises:
        LoweringError: the model does not end in a softmax.
    """
    softmax = graph.named("SOFTMAX")
    if not softmax:
        raise LoweringError(
            "the model does not end in a softmax: only classifiers with class probabilities are supported"
        )
    return softmax[-1].inputs[0]
