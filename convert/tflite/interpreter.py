"""LiteRT on this machine: a model run over images, and an interpreter whose intermediate tensors can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import OpResolverType

from convert.errors import LoweringError
from convert.tflite.graph import TfliteGraph
from edge_runtime.arrays import Array
from edge_runtime.engines import Engine, choose_engine


def open_engine(model: Path | bytes) -> Engine:
    """Return an engine that computes a model on one thread per core."""
    return Engine(model, choose_engine("litert"), None)


def run_over(engine: Engine, tensors: Iterable[Array]) -> Iterator[Array]:
    """Run a model of batch 1 over input tensors and yield their output tensors, all without the batch axis.

    Between two of them a `RecordingEngine` holds every tensor of the image it ran last: that is when observers look.
    """
    for tensor in tensors:
        yield engine.run(tensor[np.newaxis])[0]


class RecordingEngine(Engine):
    """LiteRT that keeps every tensor after a run."""

    def __init__(self, model: Path | bytes, *, with_xnnpack: bool = True) -> None:
        """Load a model; without XNNPACK, which unpacks some constants for itself, what is computed of these is kept."""
        options: dict[str, Any] = {"experimental_preserve_all_tensors": True}
        if not with_xnnpack:
            options["experimental_op_resolver_type"] = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        super().__init__(model, choose_engine("litert"), None, options=options)

    def tensor(self, index: int) -> Array:
        """Return a copy of a tensor of the last run."""
        return np.asarray(self._interpreter.get_tensor(index))


def logits_tensor(graph: TfliteGraph) -> int:
    """Return the index of the tensor that the last softmax reads; raise `LoweringError` if the model has none."""
    softmax = graph.named("SOFTMAX")
    if not softmax:
        raise LoweringError(
            "the model does not end in a softmax: only classifiers with class probabilities are supported"
        )
    return softmax[-1].inputs[0]
