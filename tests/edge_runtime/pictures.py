"""Pictures made for tests of what is read from them, and how a small network wants them."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from edge_runtime import InputSpec
from edge_runtime.preprocess import Pixels, load_pixels


def spec(height: int, width: int, **changes: Any) -> InputSpec:
    return replace(InputSpec(height, width, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)), **changes)


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def random_pixels(height: int, width: int) -> Pixels:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def one_pixel(image: Image.Image) -> list[int]:
    """Return the RGB value that a picture of one colour comes to."""
    return [int(value) for value in load_pixels(encoded(image, "TIFF"), spec(1, 1))[0, 0]]


STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),  # the viewer turns it clockwise, so it lies counter-clockwise
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
"""How an upright picture lies in a file of each EXIF orientation."""


def with_orientation(upright: Pixels, orientation: int, image_format: str = "PNG", **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(
        Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))), image_format, exif=exif, **options
    )
