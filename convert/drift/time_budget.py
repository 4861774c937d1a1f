"""How many images drift is measured on where each takes long: what a user asks for, or what a time budget allows."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from convert.drift.models import MOST_WORKERS
from convert.quantization.quantize import QuantizedModel
from convert.tflite.interpreter import open_engine, run_over
from edge_runtime import InputSpec
from edge_runtime.preprocess import Pixels
from edge_runtime.tensors import encode

BUDGET_S = 120.0
"""Seconds that the drift check of a scheme on reference kernels may take unless more images are asked for."""
FEWEST = 4
"""Images that are looked at however long they take."""
TIMED = 2
"""Images that the time of the others is estimated from."""


def seconds_per_image(quantized: QuantizedModel, spec: InputSpec, images: Sequence[Pixels]) -> float:
    """Estimate the seconds that an image takes a drift check, which runs as many at once as there are workers.

    Reference kernels use one thread. The first images are run, once each.
    """
    engine, (input_tensor, _) = open_engine(quantized.model), quantized.io_specs
    tensors = [encode(pixels, spec, input_tensor) for pixels in images[:TIMED]]
    start = time.perf_counter()
    for _ in run_over(engine, tensors):
        pass
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    return (time.perf_counter() - start) / len(tensors) / workers


def affordable(seconds: float, available: int, asked: int | None) -> int:
    """Return how many of the available images to measure on, each of which takes so many seconds.

    `asked` is the largest number that a user asks for: all of these are measured, whatever they take. None leaves it
    to `BUDGET_S`.
    """
    return min(available, max(FEWEST, int(BUDGET_S / seconds)) if asked is None else asked)


def time_note(scheme: str, seconds: float, images: int, available: int) -> str:
    """Say how long the drift check will take, and what would have it look at more images."""
    note = f"{scheme} runs on reference kernels: about {seconds * images:.0f} s for {images} images"
    if images == available:
        return note
    return f"{note} of {available}; --validation-size {available} takes about {seconds * available:.0f} s"
