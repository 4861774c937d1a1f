"""Pixels to tensors, real = scale * (q - zero_point) by hand; logits from probabilities, against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import log_softmax, softmax

from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.specs import TensorSpec
from edge_runtime.tensors import centred, dequantize, encode, log_probabilities, quantize
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


# Logits

matrices = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(2, 8)), elements=st.floats(-100, 100, width=32)
)


def test_centred_rows_average_zero() -> None:
    assert np.array_equal(centred(np.array([[1, 2, 6], [5, 5, 5]])), [[-2, -1, 3], [0, 0, 0]])


@given(matrices)
def test_centred_logs_of_a_softmax_are_the_centred_logits(logits: Array) -> None:
    """What drift compares does not depend on what a softmax forgets."""
    logits = logits / 4  # far from where the smallest float32 is the floor
    logs = log_probabilities(softmax(np.float64(logits), axis=1))
    assert np.allclose(logs, log_softmax(np.float64(logits), axis=1), atol=1e-9)
    assert np.allclose(centred(logs), centred(logits), atol=1e-9)


def test_a_probability_of_zero_has_a_finite_logarithm() -> None:
    assert log_probabilities(np.zeros((1, 1)))[0, 0] == pytest.approx(-149 * np.log(2))


def test_less_than_half_a_step_cannot_be_known() -> None:
    logs = log_probabilities(np.array([[0.0, 0.001, 0.25]]), step=1 / 256)
    np.testing.assert_allclose(np.exp(logs), [[1 / 512, 1 / 512, 0.25]])


def test_a_floor_may_be_higher_and_never_lowers_half_a_step() -> None:
    row = np.array([0.0, 1e-35, 0.25])
    np.testing.assert_allclose(np.exp(log_probabilities(row, floor=1e-30)), [1e-30, 1e-30, 0.25])
    np.testing.assert_allclose(np.exp(log_probabilities(row, step=0.5, floor=1e-30)), [0.25, 0.25, 0.25])


def test_not_a_number_stays_not_a_number() -> None:
    assert np.isnan(log_probabilities(np.array([np.nan, 0.5]))).tolist() == [True, False]
