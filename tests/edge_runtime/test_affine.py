"""real = scale * (q - zero_point), worked out by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge_runtime.affine import dequantize, quantize


def real(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def test_quantize_divides_by_the_scale_and_adds_the_zero_point() -> None:
    assert quantize(real(0, 0.5, -0.5, 2), 0.5, 3, np.int8).tolist() == [3, 4, 2, 7]


def test_quantize_rounds_to_nearest_and_ties_to_even() -> None:
    assert quantize(real(0.4, 0.6, 0.5, 1.5, -0.5, -1.5), 1.0, 0, np.int8).tolist() == [0, 1, 0, 2, 0, -2]


@pytest.mark.parametrize(("dtype", "lowest", "highest"), [(np.int8, -128, 127), (np.uint8, 0, 255)])
def test_quantize_clips_and_never_wraps_around(dtype: type[np.integer], lowest: int, highest: int) -> None:
    q = quantize(real(-1e9, 1e9, -np.inf, np.inf), 0.1, 5, dtype)
    assert q.dtype == dtype
    assert q.tolist() == [lowest, highest, lowest, highest]


def test_dequantize_is_the_equation_itself() -> None:
    values = dequantize(np.array([-128, 0, 127], np.int8), 0.25, -8)
    assert values.dtype == np.float32
    assert values.tolist() == [0.25 * -120, 0.25 * 8, 0.25 * 135]


def test_dequantize_does_not_overflow_the_dtype_of_its_input() -> None:
    assert dequantize(np.array([0, 255], np.uint8), 1.0, 255).tolist() == [-255, 0]


def test_every_integer_survives_the_way_there_and_back() -> None:
    q = np.arange(-128, 128, dtype=np.int8)
    assert np.array_equal(quantize(dequantize(q, 0.0471, 13), 0.0471, 13, np.int8), q)
