"""Whether the pixels of a picture, prepared in any usual way, fill the range of an integer input."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convert.audit.checks import WARNING, Finding
from convert.audit.operators import ClassifiedGraph
from edge_runtime.conventions import CONVENTIONS
from edge_runtime.specs import CHANNELS

INPUT_RANGE = "input-range"
"""The check; a card says how pixels are prepared, so that models with one need no guess."""
MOST_UNUSED, MOST_CLIPPED = 0.5, 0.1
"""Parts of a range: more of it that no pixel reaches is wasted, and more beyond it that pixels reach is lost."""
DTYPES = ("int8", "uint8", "int16")


def input_ranges(graph: ClassifiedGraph) -> Iterator[Finding]:
    """Find integer inputs for images whose range no convention of preprocessing fills."""
    tensors = graph.tflite
    for index in tensors.inputs:
        shape, quantization = tensors.shape(index), tensors.quantization(index)
        if quantization is None or tensors.dtype(index) not in DTYPES or len(shape) != 4 or shape[3] not in CHANNELS:
            continue
        scale, zero_point = quantization
        limits = np.iinfo(tensors.dtype(index))
        low, high = (scale * (limit - zero_point) for limit in (int(limits.min), int(limits.max)))
        if not any(_fills(low, high, values) for values in _prepared()):
            what = f"1 input of images holds {low:.4g} to {high:.4g}, which no usual preprocessing of pixels fills"
            remedy = "quantize again, calibrated with pictures that are prepared as those it will be fed"
            yield Finding(INPUT_RANGE, WARNING, what, remedy, (tensors.tensor_name(index),))


def _prepared() -> Iterator[tuple[float, float]]:
    """Yield the least and the largest value that each convention makes of pixels."""
    for convention in CONVENTIONS.values():
        ends = [(pixel - m) / s for pixel in (0, 255) for m, s in zip(convention.mean, convention.std, strict=True)]
        yield min(ends), max(ends)


def _fills(low: float, high: float, values: tuple[float, float]) -> bool:
    least, most = values
    slack = MOST_CLIPPED * (high - low)
    return low - slack <= least and most <= high + slack and most - least >= MOST_UNUSED * (high - low)
