"""The affine map between real values and integers:

    real = scale * (q - zero_point)

(gemmlowp, doc/quantization.md; TensorFlow Lite 8-bit quantization specification.) Everything that is
quantized or dequantized outside an interpreter goes through these two functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def quantize(
    real: npt.NDArray[np.floating[Any]], scale: float, zero_point: int, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """The integers nearest to `real`, ties to even; what does not fit `dtype` is clipped to its ends."""
    limits = np.iinfo(np.dtype(dtype))
    q = np.rint(real / scale) + zero_point
    return np.asarray(np.clip(q, limits.min, limits.max), dtype)


def dequantize(q: npt.NDArray[Any], scale: float, zero_point: int) -> npt.NDArray[np.float32]:
    """The real values, float32, that the integers `q` stand for."""
    return ((q.astype(np.int32) - zero_point) * np.float32(scale)).astype(np.float32)
