"""What goes into the tensor."""

from __future__ import annotations

import numpy as np

from edge_runtime.affine import quantize
from edge_runtime.card import TensorSpec
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.tensors import encode
from tests.edge_runtime.tiny_model import (
    INT8,
    SPEC,
    UINT8,
)


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
