"""Layers that move pixels and compute nothing: reshapes, padding, crops, joins, and sizes changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from convert.lowering.translation.calls import require
from convert.lowering.translation.layer_call import Affine, Computed, LayerCall, PerPixel, Result, ZeroPadded, settled


def reshaped(call: LayerCall, before: Computed) -> Computed:
    """Give a tensor the shape of the output."""
    shape = np.array(call.shape, np.int32)
    return call.operator("RESHAPE", "Reshape", [before.index, call.constant("shape", shape)], newShape=shape)


def reshape(call: LayerCall) -> Result:
    """Translate Flatten and Reshape."""
    return call.results[0] if call.shape == call.input_shapes[0] else reshaped(call, call.input())


def zero_padding(call: LayerCall) -> Result:
    """Translate ZeroPadding2D: inside the convolution that reads it where that is exact."""
    rows, columns = call.layer.padding
    return ZeroPadded(call.input(), call, tuple(rows), tuple(columns))


def cropping(call: LayerCall) -> Result:
    """Translate Cropping2D."""
    (top, _), (left, _) = call.layer.cropping
    return _cropped(call, top, left)


def center_crop(call: LayerCall) -> Result:
    """Translate CenterCrop of an image that is not smaller."""
    _, height, width, _ = call.input_shapes[0]
    _, rows, columns, _ = call.shape
    require(rows <= height and columns <= width, "CenterCrop of a smaller image")
    return _cropped(call, (height - rows) // 2, (width - columns) // 2)


def _cropped(call: LayerCall, top: int, left: int) -> Result:
    if call.shape == call.input_shapes[0]:
        return call.results[0]
    ends = [np.array([0, top, left, 0], np.int32), np.array(call.shape, np.int32)]
    inputs = [call.input().index, call.constant("begin", ends[0]), call.constant("size", ends[1])]
    return call.operator("SLICE", "Slice", inputs)


def resizing(call: LayerCall) -> Result:
    """Translate Resizing, to the centres of pixels as TensorFlow 2 does."""
    layer = call.layer
    for option in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        require(not getattr(layer, option, False), f"Resizing with {option}")
    return _resized(call, layer.interpolation)


def up_sampling(call: LayerCall) -> Result:
    """Translate UpSampling2D."""
    return _resized(call, call.layer.interpolation)


def _resized(call: LayerCall, interpolation: str) -> Result:
    operators = {"bilinear": "RESIZE_BILINEAR", "nearest": "RESIZE_NEAREST_NEIGHBOR"}
    require(interpolation in operators, f"interpolation {interpolation}")
    if call.shape == call.input_shapes[0]:
        return call.results[0]
    size = call.constant("size", np.array(call.shape[1:3], np.int32))
    return call.operator(operators[interpolation], "Resize", [call.input().index, size], halfPixelCenters=True)


def permute(call: LayerCall) -> Result:
    """Translate Permute, whose axes count from 1."""
    return _transposed(call, (0, *call.layer.dims))


def transpose(call: LayerCall) -> Result:
    """Translate keras.ops.transpose."""
    axes = call.layer.axes
    return _transposed(call, tuple(axes) if axes is not None else tuple(range(len(call.shape)))[::-1])


def _transposed(call: LayerCall, axes: tuple[int, ...]) -> Result:
    require(axes[0] == 0, f"axes in the order {axes}")
    return call.operator(
        "TRANSPOSE", "Transpose", [call.input().index, call.constant("axes", np.array(axes, np.int32))]
    )


def concatenate(call: LayerCall) -> Result:
    """Translate Concatenate, the layer and the operation."""
    return call.operator("CONCATENATION", "Concat", call.indices, axis=call.layer.axis % len(call.shape))


def get_item(call: LayerCall) -> Result:
    """Translate a choice of channels, x[..., ::-1] or x[..., 0]: the former into the convolution behind it."""
    key = call.argument(1, "key")
    before, channels = call.results[0], call.input_shapes[0][-1]
    keys = key if isinstance(key, tuple) else (key,)
    require(len(keys) > 1 and _takes_all(keys[:-1], len(call.input_shapes[0])), "a part of the image")
    chosen = np.arange(channels)[keys[-1]].reshape(-1)
    if isinstance(before, PerPixel):
        scale, shift = before.affine.scale_and_shift(channels)
        own = chosen if before.channels is None else np.array(before.channels)[chosen]
        return PerPixel(before.source, call, Affine(scale[chosen], shift[chosen]), _numbers(own))
    return PerPixel(settled(before), call, Affine(), _numbers(chosen))


def stack(call: LayerCall) -> Result:
    """Translate the stack of single channels of one image, which preprocess_input makes to swap red and blue."""
    parts = call.results
    require(call.layer.axis in (-1, len(call.shape) - 1), f"Stack over axis {call.layer.axis}")
    single = [part for part in parts if isinstance(part, PerPixel) and part.channels and len(part.channels) == 1]
    require(len(single) == len(parts) and len({part.source.index for part in single}) == 1, "Stack")
    ends = [part.affine.scale_and_shift(1) for part in single]
    scale, shift = (np.concatenate(side) for side in zip(*ends, strict=True))
    channels = tuple(channel for part in single for channel in part.channels or ())
    return PerPixel(single[0].source, call, Affine(scale, shift), channels)


def _takes_all(keys: tuple[Any, ...], rank: int) -> bool:
    """Return whether an index leaves all axes but the last as they are."""
    if keys == (Ellipsis,):
        return True
    return len(keys) == rank - 1 and all(isinstance(key, slice) and key == slice(None) for key in keys)


def _numbers(channels: Any) -> tuple[int, ...]:
    return tuple(int(channel) for channel in channels)
