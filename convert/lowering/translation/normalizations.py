"""Normalizations and rescaling: affine functions of the channels, which convolutions beside them take in."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from convert.lowering.translation.calls import require
from convert.lowering.translation.layer_call import Affine, LayerCall, Result
from edge_runtime.arrays import Array


def batch_normalization(call: LayerCall) -> Result:
    """Translate BatchNormalization at inference (Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.1)."""
    layer = call.layer
    _require_last_axis(call, layer.axis)
    factor = 1 / np.sqrt(_exact(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        factor = factor * _exact(layer.gamma)
    add = _exact(layer.beta) if layer.center else None
    return call.scaled(call.results[0], Affine(factor, add, _exact(layer.moving_mean)), "BatchNorm")


def normalization(call: LayerCall) -> Result:
    """Translate Normalization: (x - mean) / max(sqrt(variance), epsilon)."""
    layer = call.layer
    require(not layer.invert, "Normalization inverted")
    mean, variance = (per_channel(values, call.shape) for values in (layer.mean, layer.variance))
    factor = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
    return call.scaled(call.results[0], Affine(factor, subtract=mean), "Normalization")


def rescaling(call: LayerCall) -> Result:
    """Translate Rescaling: x * scale + offset."""
    scale, offset = (per_channel(values, call.shape) for values in (call.layer.scale, call.layer.offset))
    return call.scaled(call.results[0], Affine(scale, offset), "Rescaling")


def layer_scale(call: LayerCall) -> Result:
    """Translate the LayerScale of keras.applications' ConvNeXt."""
    return call.scaled(call.results[0], Affine(_exact(call.layer.gamma)), "LayerScale")


def layer_normalization(call: LayerCall) -> Result:
    """Translate LayerNormalization over the channels: (x - mean) / sqrt(variance + epsilon), then scale and shift."""
    layer = call.layer
    _require_last_axis(call, layer.axis)
    require(not getattr(layer, "rms_scaling", False), "LayerNormalization with rms_scaling")
    source, axes = call.input().index, call.constant("axes", np.array([len(call.shape) - 1], np.int32))
    one = (*call.shape[:-1], 1)
    mean = call.operator("MEAN", "Mean", [source, axes], one, keepDims=True).index
    squares = call.operator("SQUARED_DIFFERENCE", "Squares", [source, mean]).index
    variance = call.operator("MEAN", "Variance", [squares, axes], one, keepDims=True).index
    epsilon = call.constant("epsilon", np.array([layer.epsilon], np.float32))
    more = call.operator("ADD", "Epsilon", [variance, epsilon], one).index
    inverse = call.operator("RSQRT", "Rsqrt", [more], one).index
    centred = call.operator("SUB", "Centred", [source, mean]).index
    normalized = call.operator("MUL", "Normalized", [centred, inverse])
    gamma = _exact(layer.gamma) if layer.scale else None
    beta = _exact(layer.beta) if layer.center else None
    return call.scaled(normalized, Affine(gamma, beta), "LayerNorm")


def per_channel(values: Any, shape: tuple[int, ...]) -> Array:
    """Return numbers for each channel of a tensor, or one for all, float64 with one axis."""
    array = np.asarray(values, np.float64)
    require(array.size in (1, array.shape[-1] if array.ndim else 1), f"numbers of shape {array.shape} for each pixel")
    require(array.size in (1, shape[-1]), f"numbers of shape {array.shape} for {shape[-1]} channels")
    return array.reshape(-1)


def _exact(weight: Any) -> Array:
    return np.asarray(weight, np.float64)


def _require_last_axis(call: LayerCall, axis: Any) -> None:
    axes = tuple(axis) if isinstance(axis, list | tuple) else (axis,)
    require(axes in ((-1,), (len(call.shape) - 1,)), f"{type(call.layer).__name__} over axis {axis}")
