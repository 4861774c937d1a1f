"""Which part of a picture becomes which part of the tensor, to the pixel: stretched, cropped or padded.

Three libraries cut and round each in its own way; `fit_as` of an `InputSpec` says whose way is meant. All sides are
(width, height) in pixels of the upright picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Size = tuple[int, int]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

STRETCH, CROP, PAD = "stretch", "crop", "pad"
FITS = (STRETCH, CROP, PAD)
KERAS, TENSORFLOW, TORCHVISION = "keras", "tensorflow", "torchvision"
FITS_AS = (KERAS, TENSORFLOW, TORCHVISION)

MOST_RESIZED = 2**24
"""Pixels of a resized picture; where there would be more, it is cut before it is resized."""


class Placement(NamedTuple):
    """How a picture of one size becomes the tensor.

    Attributes:
        box: the part of the picture that is resized; it reaches beyond the picture where that is padded first.
        size: what the box is resized to.
        offset: where the tensor begins within the resized box: positive where that is cut, negative where it is padded.
    """

    box: Box
    size: Size
    offset: Size = (0, 0)

    @property
    def reduction(self) -> tuple[float, float]:
        """Return how many pixels of the picture become one of the tensor, across and down."""
        return (self.box[2] - self.box[0]) / self.size[0], (self.box[3] - self.box[1]) / self.size[1]


def place(picture: Size, tensor: Size, fit: str, fit_as: str, fraction: float) -> Placement:
    """Return where a picture lies in the tensor; `fit`, `fit_as` and `fraction` are those of an `InputSpec`."""
    return PLACES[fit, fit_as](picture, tensor, fraction)


def _stretched(picture: Size, tensor: Size, fraction: float) -> Placement:
    """Keep the same part of both sides."""
    kept = _least_one(round(picture[0] * fraction), round(picture[1] * fraction))
    left, top = (picture[0] - kept[0]) // 2, (picture[1] - kept[1]) // 2
    return Placement((left, top, left + kept[0], top + kept[1]), tensor)


def _largest(picture: Size, tensor: Size) -> Size:
    """Return the sides of the largest part of a picture in the proportions of the tensor."""
    (width, height), (across, down) = picture, tensor
    return _least_one(min(width, height * across // down), min(height, width * down // across))


def _cut_as_keras(picture: Size, tensor: Size, fraction: float) -> Placement:
    """Cut, then resize: `crop_to_aspect_ratio` of Keras (`keras.ops.image.resize`), where `fraction` is 1."""
    largest = _largest(picture, tensor)
    kept = _least_one(int(largest[0] * fraction), int(largest[1] * fraction))
    left, top = (picture[0] - kept[0]) // 2, (picture[1] - kept[1]) // 2
    return Placement((left, top, left + kept[0], top + kept[1]), tensor)


def _cut_as_tensorflow(picture: Size, tensor: Size, fraction: float) -> Placement:
    """Cut, then resize: `_decode_and_center_crop` of TensorFlow's EfficientNet and ResNet, in single precision."""
    largest = _largest(picture, tensor)
    kept = _least_one(*(int(np.float32(fraction) * np.float32(side)) for side in largest))
    left, top = (picture[0] - kept[0] + 1) // 2, (picture[1] - kept[1] + 1) // 2
    return Placement((left, top, left + kept[0], top + kept[1]), tensor)


def _cut_as_torchvision(picture: Size, tensor: Size, fraction: float) -> Placement:
    """Resize, then cut: `Resize(round(side / fraction))` and `CenterCrop(side)` of torchvision.

    For a tensor that is not square, the side is the one that the picture has the least of.
    """
    (width, height), (across, down) = picture, tensor
    if width * down <= height * across:
        resized = round(across / fraction), round(across / fraction) * height // width
    else:
        resized = round(down / fraction) * width // height, round(down / fraction)
    left, top = round((resized[0] - across) / 2), round((resized[1] - down) / 2)
    if resized[0] * resized[1] <= MOST_RESIZED:
        return Placement((0, 0, width, height), resized, (left, top))
    x, y = width / resized[0], height / resized[1]
    return Placement((left * x, top * y, (left + across) * x, (top + down) * y), tensor)


def _padded_as_keras(picture: Size, tensor: Size, _: float) -> Placement:
    """Pad, then resize: `pad_to_aspect_ratio` of Keras (`keras.ops.image.resize`)."""
    (width, height), (across, down) = picture, tensor
    beside = max(0, height * across // down - width) // 2
    above = max(0, width * down // across - height) // 2
    return Placement((-beside, -above, width + beside, height + above), tensor)


def _padded_as_tensorflow(picture: Size, tensor: Size, _: float) -> Placement:
    """Resize, then pad: `tf.image.resize_with_pad`, in single precision."""
    sides, wanted = np.asarray(picture, np.float32), np.asarray(tensor, np.float32)
    exact = sides / (sides / wanted).max()
    size = _least_one(*(math.floor(side) for side in exact))
    beside, above = (max(0, math.floor(half)) for half in (wanted - exact) / 2)
    return Placement((0, 0, *picture), size, (-beside, -above))


def _padded_as_pillow(picture: Size, tensor: Size, _: float) -> Placement:
    """Resize, then pad: `PIL.ImageOps.pad`; torchvision has nothing of its own."""
    (width, height), (across, down) = picture, tensor
    size = tensor
    if width / height > across / down:
        size = _least_one(across, round(height / width * across))
    elif width / height < across / down:
        size = _least_one(round(width / height * down), down)
    return Placement((0, 0, width, height), size, (-round((across - size[0]) * 0.5), -round((down - size[1]) * 0.5)))


def _least_one(width: int, height: int) -> Size:
    return max(1, width), max(1, height)


PLACES: dict[tuple[str, str], Callable[[Size, Size, float], Placement]] = {
    **{(STRETCH, each): _stretched for each in FITS_AS},
    (CROP, KERAS): _cut_as_keras,
    (CROP, TENSORFLOW): _cut_as_tensorflow,
    (CROP, TORCHVISION): _cut_as_torchvision,
    (PAD, KERAS): _padded_as_keras,
    (PAD, TENSORFLOW): _padded_as_tensorflow,
    (PAD, TORCHVISION): _padded_as_pillow,
}
"""`fit` and `fit_as` -> what places a picture of one size in a tensor of another, keeping a fraction of it."""
