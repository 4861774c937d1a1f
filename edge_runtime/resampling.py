"""Resizes a part of a picture: with the filters of Pillow, or with those of TensorFlow, which do not average.

Pillow's filters grow as a picture shrinks ("antialias"), so that every pixel counts. `tf.image.resize` reads 2x2 or 4x4
pixels around each point, however far the points are apart, unless it is told otherwise; so do Keras, OpenCV and PyTorch
on tensors. Results are whole numbers, where TensorFlow's have fractions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_runtime.arrays import Array
from edge_runtime.geometry import Box, Placement, Size

PILLOW_FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic", "lanczos")}
BAND_PIXELS = 2**20
"""How many pixels are padded at a time, if rows become long."""
TABLE = 1024
"""Steps between two pixels in which TensorFlow tabulates its cubic filter."""


def resized(picture: Image.Image, placement: Placement, tensor: Size, name: str, color: tuple[int, ...]) -> Array:
    """Return the tensor's pixels, uint8 (height, width) or (height, width, channels).

    Args:
        picture: grey or RGB.
        placement: in pixels of `picture`. The filter sees no pixels outside the box.
        tensor: width and height.
        name: a key of `RESIZE_FILTERS`.
        color: of what lies outside the picture, for each of its channels.
    """
    return RESIZE_FILTERS[name](picture, placement, tensor, name, color)


def _by_pillow(picture: Image.Image, placement: Placement, tensor: Size, name: str, color: tuple[int, ...]) -> Array:
    box, size, chosen = placement.box, placement.size, PILLOW_FILTERS[name]
    left, top, right, bottom = _outer(box)
    if left < 0 or top < 0 or right > picture.width or bottom > picture.height:
        small = _padded(picture, box, size, chosen, color)
    else:
        if (left, top, right, bottom) != (0, 0, *picture.size):
            picture = picture.crop((left, top, right, bottom))
        small = picture.resize(size, chosen, (box[0] - left, box[1] - top, box[2] - left, box[3] - top))
    if size == tensor and placement.offset == (0, 0):
        return np.asarray(small, np.uint8)
    whole = Image.new(small.mode, tensor, _fill(color))
    whole.paste(small, (-placement.offset[0], -placement.offset[1]))
    return np.asarray(whole, np.uint8)


def _padded(
    picture: Image.Image, box: Box, size: Size, chosen: Image.Resampling, color: tuple[int, ...]
) -> Image.Image:
    """Pad and resize, first across, a few rows at a time, then down: the order and the roundings of Pillow itself."""
    left, top, right, bottom = _outer(box)
    strip = Image.new(picture.mode, (size[0], bottom - top), _fill(color))
    rows = max(1, BAND_PIXELS // (right - left))
    for begin in range(max(0, top), min(picture.height, bottom), rows):
        end = min(begin + rows, picture.height, bottom)
        band = Image.new(picture.mode, (right - left, end - begin), _fill(color))
        band.paste(picture.crop((0, begin, picture.width, end)), (-left, 0))
        across = band.resize((size[0], end - begin), chosen, (box[0] - left, 0, box[2] - left, end - begin))
        strip.paste(across, (0, begin - top))
    return strip.resize(size, chosen, (0, box[1] - top, size[0], box[3] - top))


def _fill(color: tuple[int, ...]) -> int | tuple[int, ...]:
    """Return a colour as Pillow takes it."""
    return color[0] if len(color) == 1 else color


def _outer(box: Box) -> tuple[int, int, int, int]:
    """Return the whole pixels that a box touches."""
    return math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])


def _by_tensorflow(
    picture: Image.Image, placement: Placement, tensor: Size, name: str, color: tuple[int, ...]
) -> Array:
    pixels = np.asarray(picture, np.uint8).reshape(picture.height, picture.width, -1)
    axes = [_taps(placement, axis, tensor[axis], TENSORFLOW_FILTERS[name]) for axis in (0, 1)]
    (columns, across), (rows, down) = axes
    inside = [(taps >= 0) & (taps < side) for taps, side in zip((columns, rows), picture.size, strict=True)]
    columns, rows = (taps.clip(0, side - 1) for taps, side in zip((columns, rows), picture.size, strict=True))
    fill, total = np.asarray(color, np.float32), np.zeros((tensor[1], tensor[0], pixels.shape[2]), np.float32)
    for i in range(rows.shape[1]):
        line = pixels[rows[:, i]]
        for j in range(columns.shape[1]):
            values = line[:, columns[:, j]].astype(np.float32)
            if not (inside[0][:, j].all() and inside[1][:, i].all()):
                values[~(inside[1][:, i, np.newaxis] & inside[0][np.newaxis, :, j])] = fill
            total += down[:, i, np.newaxis, np.newaxis] * across[np.newaxis, :, j, np.newaxis] * values
    found: Array = np.rint(total).clip(0, 255).astype(np.uint8)
    found[_outside(placement, 1, tensor[1])] = color
    found[:, _outside(placement, 0, tensor[0])] = color
    return found if len(picture.getbands()) > 1 else found[..., 0]


def _outside(placement: Placement, axis: int, side: int) -> npt.NDArray[np.bool_]:
    """Return which rows or columns of the tensor lie outside the resized box."""
    points = placement.offset[axis] + np.arange(side)
    return (points < 0) | (points >= placement.size[axis])


def _taps(placement: Placement, axis: int, side: int, filtered: Callable[[Array], Taps]) -> tuple[Array, Array]:
    """Return which pixels along an axis each of the tensor's reads, int (side, taps), and their weights, float32.

    The arithmetic is TensorFlow's (`resize_bilinear_op.cc`, `resize_bicubic_op.cc`): single precision, half-pixel
    centres.
    """
    begin, end = placement.box[axis], placement.box[axis + 2]
    first, last = math.floor(begin), math.ceil(end) - 1
    scale = np.float32(np.float32(end - begin) / np.float32(placement.size[axis]))
    points = (np.arange(side) + placement.offset[axis]).clip(0, placement.size[axis] - 1)
    centres = (points.astype(np.float32) + np.float32(0.5)) * scale - np.float32(0.5) + np.float32(begin - first)
    reads, weights = filtered(centres)
    reads = reads + first
    kept = reads.clip(first, last)
    if weights.shape[1] > 2:  # the cubic filter leaves out what it does not find
        weights = np.where(kept == reads, weights, np.float32(0))
        weights = weights / weights.sum(axis=1, keepdims=True)
    return kept, weights.astype(np.float32)


def _linear(centres: Array) -> Taps:
    low = np.floor(centres)
    part = centres - low
    return low[:, np.newaxis].astype(np.int64) + np.arange(2), np.stack([1 - part, part], axis=1)


def _cubic(centres: Array) -> Taps:
    """Keys' filter, a = -1/2, in `TABLE` steps."""
    low = np.floor(centres)
    step = np.rint((centres - low) * np.float32(TABLE)) / np.float32(TABLE)
    distances = np.stack([1 + step, step, 1 - step, 2 - step], axis=1).astype(np.float32)
    near = (1.5 * distances - 2.5) * distances**2 + 1
    far = ((-0.5 * distances + 2.5) * distances - 4) * distances + 2
    return low[:, np.newaxis].astype(np.int64) + np.arange(-1, 3), np.where(distances <= 1, near, far)


Taps = tuple[Array, Array]
TENSORFLOW_FILTERS: dict[str, Callable[[Array], Taps]] = {"tf-bilinear": _linear, "tf-bicubic": _cubic}
"""Name of a filter -> what it reads around points along an axis: positions and weights, both (points, taps)."""

RESIZE_FILTERS = {
    **dict.fromkeys(PILLOW_FILTERS, _by_pillow),
    **dict.fromkeys(TENSORFLOW_FILTERS, _by_tensorflow),
}
"""Name of a filter -> what resizes with it."""
