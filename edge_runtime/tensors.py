"""Pixels to an engine's input tensor, its output tensor to probabilities, and those back to logits.

Integers stand for real values by one affine map (gemmlowp, doc/quantization.md; TensorFlow Lite 8-bit quantization
specification):

    real = scale * (q - zero_point)

Everything that is quantized or dequantized outside an interpreter goes through `quantize` and `dequantize`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.arrays import Array
from edge_runtime.engines import AnyEngine
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.specs import SOFTMAX, InputSpec, TensorSpec

Probabilities = npt.NDArray[np.float32]
SMALLEST_FLOAT32 = float(np.finfo(np.float32).smallest_subnormal)
HALF_STEP_BELOW_ONE = float(np.finfo(np.float32).epsneg) / 2
"""Half the distance from 1 to the float32 below it: closer to 1 a float32 cannot tell what a sigmoid was given."""


def quantize(real: npt.NDArray[np.floating[Any]], scale: float, zero_point: int, dtype: npt.DTypeLike) -> Array:
    """Return the integers nearest to `real`, ties to even; values outside the range of `dtype` are clipped to it."""
    limits = np.iinfo(np.dtype(dtype))
    q = np.rint(real / scale) + zero_point
    return np.asarray(np.clip(q, limits.min, limits.max), dtype)


def dequantize(q: Array, scale: float, zero_point: int) -> npt.NDArray[np.float32]:
    """Return the float32 values that the integers `q` stand for."""
    return ((q.astype(np.int32) - zero_point) * np.float32(scale)).astype(np.float32)


def encode(pixels: Pixels, spec: InputSpec, input_tensor: TensorSpec) -> Array:
    """Convert uint8 pixels (..., channels) to what the input tensor holds, of dtype `input_tensor.dtype`."""
    if input_tensor.encoding == "pixels":
        return pixels if input_tensor.dtype == "uint8" else (pixels.astype(np.int16) - 128).astype(np.int8)
    real = normalize(pixels, spec)
    if input_tensor.scale is None or input_tensor.zero_point is None:
        return real
    return quantize(real, input_tensor.scale, input_tensor.zero_point, input_tensor.dtype)


def to_probabilities(output: Array, output_tensor: TensorSpec) -> Probabilities:
    """Convert the values of an output tensor to float32 probabilities of the same shape."""
    if output_tensor.scale is None or output_tensor.zero_point is None:
        return np.asarray(output, np.float32)
    return dequantize(output, output_tensor.scale, output_tensor.zero_point)


def run(engine: AnyEngine, tensor: Array) -> Probabilities:
    """Return an engine's probabilities, float32 (classes,), for an encoded image; raise `EngineError` if it fails."""
    return to_probabilities(engine.run(tensor[np.newaxis])[0], engine.output)


def log_probabilities(probabilities: Array, step: float = 0.0, floor: float = SMALLEST_FLOAT32) -> Array:
    """Return natural logarithms, float64, of probabilities (..., classes).

    Args:
        probabilities: in 0..1.
        step: distance between neighbouring probabilities of an integer output; 0.0 for floats. Probabilities below
            half a step, 0 above all, count as half a step: the output cannot say more about them.
        floor: the least that a probability counts as, whatever the step.
    """
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, np.float64), max(step / 2, floor))))


def logits(
    probabilities: Array, head: str = SOFTMAX, step: float = 0.0, floor: float = SMALLEST_FLOAT32
) -> Array:
    """Return what a head was given, float64, as far as its probabilities (..., classes) tell.

    For a softmax these are centred log-probabilities, for independent labels the log-odds of each, log(p / (1 - p)).
    `step` and `floor` are as in `log_probabilities`; of independent labels both ends are floored, and alike.
    """
    if head == SOFTMAX:
        return centred(log_probabilities(probabilities, step, floor))
    there = np.asarray(probabilities, np.float64)
    least = max(step / 2, floor, HALF_STEP_BELOW_ONE)
    return np.asarray(np.log(np.maximum(there, least)) - np.log(np.maximum(1 - there, least)))


def centred(logits: Array) -> Array:
    """Return logits (..., classes), float64, less each row's mean: all that a softmax depends on."""
    wide = np.asarray(logits, np.float64)
    return np.asarray(wide - wide.mean(axis=-1, keepdims=True))
