"""Convolutions and dense layers: the layers with weights, which take in what stands before and behind them."""

from __future__ import annotations

from typing import Any

import numpy as np

from convert.lowering.translation.activations import activated
from convert.lowering.translation.calls import require
from convert.lowering.translation.layer_call import (
    SAME,
    SINGLE_PIXEL,
    VALID,
    Computed,
    LayerCall,
    PerPixel,
    Result,
    ZeroPadded,
    settled,
)
from convert.tflite.operators import CONVOLUTION, DENSE, DEPTHWISE, padding_before
from edge_runtime.arrays import Array

PADDINGS = {"same": SAME, "valid": VALID}


def window(layer: Any) -> dict[str, int]:
    """Return the options that convolutions and pools have in common."""
    require(layer.padding in PADDINGS, f"padding {layer.padding}")
    return {"padding": PADDINGS[layer.padding], "strideH": layer.strides[0], "strideW": layer.strides[1]}


def convolution(call: LayerCall) -> Result:
    """Translate Conv2D; one with a group for each channel is depthwise."""
    layer = call.layer
    kernel, bias = _weights(layer)
    channels = call.input_shapes[0][-1]
    if layer.groups == channels > 1:
        height, width, _, outputs = kernel.shape
        kernel = kernel.reshape(height, width, channels, outputs // channels)
        return activated(call, _depthwise(call, call.results[0], kernel, bias, call.shape), layer.activation)
    source, kernel, bias, options = _taken_in(call, call.results[0], kernel, bias, layer.groups)
    result = _convolved(call, CONVOLUTION, source, kernel.transpose(3, 0, 1, 2), bias, call.shape, options)
    return activated(call, result, layer.activation)


def depthwise(call: LayerCall) -> Result:
    """Translate DepthwiseConv2D."""
    kernel, bias = _weights(call.layer)
    return activated(call, _depthwise(call, call.results[0], kernel, bias, call.shape), call.layer.activation)


def separable(call: LayerCall) -> Result:
    """Translate SeparableConv2D: a depthwise convolution, and one of single pixels."""
    layer = call.layer
    kernel, pointwise, *bias = layer.get_weights()
    between = (*call.shape[:3], pointwise.shape[2])
    first = _depthwise(call, call.results[0], kernel, np.zeros(pointwise.shape[2], np.float32), between)
    terms = bias[0] if bias else np.zeros(call.shape[-1], np.float32)
    flat = pointwise.transpose(3, 0, 1, 2)
    result = _convolved(call, CONVOLUTION, first.index, flat, terms, call.shape, SINGLE_PIXEL)
    return activated(call, result, layer.activation)


def dense(call: LayerCall) -> Result:
    """Translate Dense: of an image, as a convolution of single pixels."""
    layer, rank = call.layer, len(call.shape)
    require(rank in (2, 4), f"Dense on {rank} axes")
    kernel, bias = _weights(layer)
    before = call.results[0]
    if isinstance(before, PerPixel) and before.channels is None:
        kernel, bias = _per_pixel(before, kernel, bias)
        before = before.source
    source = settled(before).index
    if rank == 4:
        pixel = kernel.T[:, np.newaxis, np.newaxis]
        result = _convolved(call, CONVOLUTION, source, pixel, bias, call.shape, SINGLE_PIXEL)
        return activated(call, result, layer.activation)
    inputs = [source, call.constant("kernel", kernel.T), call.constant("bias", bias)]
    return activated(call, call.operator(DENSE, "MatMul", inputs), layer.activation)


def _weights(layer: Any) -> list[Array]:
    """Return kernel and bias of a layer."""
    kernel, *bias = layer.get_weights()
    outputs = kernel.shape[-1] if type(layer).__name__ != "DepthwiseConv2D" else kernel.shape[-1] * kernel.shape[-2]
    return [kernel, *(bias or [np.zeros(outputs, np.float32)])]


def _depthwise(call: LayerCall, before: Result, kernel: Array, bias: Array, shape: tuple[int, ...]) -> Computed:
    source, kernel, bias, options = _taken_in(call, before, kernel, bias, 0)
    height, width, channels, multiplier = kernel.shape
    flat = kernel.reshape(1, height, width, channels * multiplier)
    return _convolved(call, DEPTHWISE, source, flat, bias, shape, options | {"depthMultiplier": multiplier})


def _convolved(
    call: LayerCall, kind: str, source: int, kernel: Array, bias: Array, shape: tuple[int, ...], options: dict[str, int]
) -> Computed:
    inputs = [source, call.constant("kernel", kernel), call.constant("bias", bias)]
    return call.operator(kind, "Conv2D", inputs, shape, **options)


def _taken_in(
    call: LayerCall, before: Result, kernel: Array, bias: Array, groups: int
) -> tuple[int, Array, Array, dict[str, int]]:
    """Return source, kernel, bias and options of a convolution that has taken in what is exact of what is pending.

    `kernel` is (height, width, in, out), or (height, width, channels, multiplier) where `groups` is 0.
    """
    layer = call.layer
    height, width = layer.dilation_rate
    options = window(layer) | {"dilationHFactor": height, "dilationWFactor": width}
    if isinstance(before, ZeroPadded) and _is_same_padding(layer, before, call.shape):
        options["padding"] = SAME
        before = before.source
    is_unpadded = options["padding"] == VALID or tuple(kernel.shape[:2]) == (1, 1)
    if isinstance(before, PerPixel) and groups in (0, 1) and not (groups == 0 and before.channels):
        _, shift = before.affine.scale_and_shift(before.width)
        if is_unpadded or not np.any(shift):
            kernel, bias = _per_pixel(before, kernel, bias, is_depthwise=groups == 0)
            before = before.source
    return settled(before).index, kernel, bias, options


def _is_same_padding(layer: Any, padded: ZeroPadded, output: tuple[int, ...]) -> bool:
    """Return whether the zeros are those of "SAME" padding, as far as the convolution reads them."""
    if layer.padding != "valid":
        return False
    axes = zip(padded.source.shape[1:3], output[1:3], (padded.rows, padded.columns), strict=True)
    steps = zip(layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
    return all(
        outputs == -(-size // stride) and padding_before(size, outputs, taps, stride, dilation) == before
        for (size, outputs, (before, _)), (taps, stride, dilation) in zip(axes, steps, strict=True)
    )


def _per_pixel(before: PerPixel, kernel: Array, bias: Array, is_depthwise: bool = False) -> tuple[Array, Array]:
    """Return a kernel (..., in, out) and a bias that compute from the source what they did from every pixel.

    The kernel is (..., channels, multiplier) where `is_depthwise`.
    """
    scale, shift = before.affine.scale_and_shift(before.width)
    exact = kernel.astype(np.float64)
    of_shift = exact * shift[:, np.newaxis]
    kept = (-2, -1) if is_depthwise else (-1,)
    terms = of_shift.sum(axis=tuple(axis for axis in range(-kernel.ndim, 0) if axis not in kept)).reshape(-1)
    scaled = exact * scale[:, np.newaxis]
    if before.channels is not None:
        chosen = np.zeros((*kernel.shape[:-2], before.source.shape[-1], kernel.shape[-1]))
        for position, channel in enumerate(before.channels):
            chosen[..., channel, :] += scaled[..., position, :]
        scaled = chosen
    return scaled.astype(np.float32), (bias + terms).astype(np.float32)
