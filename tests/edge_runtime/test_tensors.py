"""Pixels to tensors, and real = scale * (q - zero_point) worked out by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.specs import TensorSpec
from edge_runtime.tensors import dequantize, encode, quantize
from tests.edge_runtime.tiny_model import INT8, SPEC, UINT8


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


def test_uint8_pixels_go_in_as_they_are(noise: Pixels) -> None:
    assert np.array_equal(encode(noise, SPEC, UINT8), noise)


def test_int8_pixels_are_shifted_by_128() -> None:
    tensor = encode(np.array([[[0, 128, 255]]], np.uint8), SPEC, INT8)
    assert (tensor.dtype.name, tensor.tolist()) == ("int8", [[[-128, 0, 127]]])


def test_normalized_integers_follow_the_affine_map(noise: Pixels) -> None:
    end = TensorSpec("image", "int8", 0.02, 5)
    tensor = encode(noise, SPEC, end)
    assert np.array_equal(tensor, quantize(normalize(noise, SPEC), 0.02, 5, np.int8))
    assert encode(np.array([[[0, 255, 128]]], np.uint8), SPEC, end).tolist() == [[[-45, 55, 5]]]


def test_floats_are_normalized() -> None:
    tensor = encode(np.array([[[0, 255, 255]]], np.uint8), SPEC, TensorSpec("image", "float32"))
    assert (tensor.dtype.name, tensor.tolist()) == ("float32", [[[-1.0, 1.0, 1.0]]])
