"""Decodes a JPEG at a fraction of its size (DCT scaling) if the network needs no more of it.

A JPEG holds the frequencies of blocks of 8x8 pixels. A decoder that omits the high ones yields the picture at 1/2,
1/4 or 1/8 of its size in a fraction of the time and memory (libjpeg: `scale_num` 1, `scale_denom` s). The rule:

    s is the largest of 8, 4, 2 and 1 with    kept width  >= reducing gap * s * resized width
                                        and   kept height >= reducing gap * s * resized height

where kept is the part of the upright picture that is resized, in the file's own pixels and with what it is padded with,
resized is what it becomes, mostly the tensor (`geometry.Placement`), and the reducing gap is `DECODINGS[decode]`. The
decoded picture has ceil(width / s) x ceil(height / s) pixels, each covering s x s of the file's; the last column and
row may reach beyond the picture. A kept part from l to r then lies from l / s to r / s, which need not be whole: it is
cropped from floor(l / s) to ceil(r / s), then resized from exactly l / s to r / s.

The pixels are those of libjpeg up to 6b and of libjpeg-turbo (Pillow, Android, TensorFlow), "slow" integer DCT, colours
interpolated ("fancy upsampling"): at 1/8 the mean of each block, and colours of 4:2:0 no coarser than brightness. A
lossless JPEG, which holds no frequencies, is refused if the rule asks for a fraction of it.

A reducing gap of 2 was measured, see `benchmarks/RUNTIME.md`; it is also the default of Pillow's `Image.thumbnail`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from PIL import ExifTags, Image

from edge_runtime.errors import ImageError
from edge_runtime.geometry import Placement

DECODINGS = {"full": math.inf, "scaled": 2.0}
"""How JPEGs are decoded -> the reducing gap: the least ratio of the decoded picture's size to the tensor's."""

SCALES = (8, 4, 2, 1)
SCALED_FORMATS = ("JPEG", "MPO")
"""An MPO file is a JPEG followed by others; decoders that do not know the format read the first."""

SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

MIRRORED = ((2, 3, 6, 7), (3, 4, 7, 8))
"""EXIF orientations whose upright picture begins, on the left and at the top, where the stored one ended."""


class Extent(NamedTuple):
    """Where an upright picture lies within the decoded pixels.

    Attributes:
        width, height: of the upright picture, in the file's pixels.
        scale: how many of the file's pixels one decoded pixel covers, in each direction.
        left, top: how many of the file's pixels the decoded ones cover before the picture begins.
    """

    width: int
    height: int
    scale: int = 1
    left: int = 0
    top: int = 0

    def decoded(self, placement: Placement) -> Placement:
        """Return a placement of the picture in decoded pixels."""
        left, top, right, bottom = placement.box
        across, down, scale = self.left, self.top, self.scale
        box = ((left + across) / scale, (top + down) / scale, (right + across) / scale, (bottom + down) / scale)
        return placement._replace(box=box)


def decode_scale(placement: Placement, reducing_gap: float) -> int:
    """Return s of the rule above."""
    return next((s for s in SCALES if min(placement.reduction) >= reducing_gap * s), 1)


def draft(image: Image.Image, name: str, place: Callable[[int, int], Placement], reducing_gap: float) -> Extent | None:
    """Make Pillow decode a JPEG, opened but not yet loaded, at the scale of the rule.

    `place` returns the placement of an upright picture of a width and a height.

    Returns:
        Where the picture will lie once it is loaded and upright; None if it will be decoded at its full size, as
        formats other than `SCALED_FORMATS` always are.

    Raises:
        ImageError: Pillow would decode at a scale other than the one requested.
    """
    if image.format not in SCALED_FORMATS:
        return None
    orientation, (width, height) = image.getexif().get(ExifTags.Base.Orientation, 1), image.size
    sideways = orientation in SIDEWAYS
    whole = Extent(height, width) if sideways else Extent(width, height)
    scale = decode_scale(place(whole.width, whole.height), reducing_gap)
    if scale == 1:
        return None
    image.draft(None, (width // scale, height // scale))
    expected = -(-width // scale), -(-height // scale)
    if image.size != expected:
        raise ImageError(
            f"{name} would be decoded at {image.width}x{image.height}, not at {expected[0]}x{expected[1]} pixels: "
            "install another version of Pillow"
        )
    beyond = expected[0] * scale - width, expected[1] * scale - height
    across, down = beyond[::-1] if sideways else beyond
    left, top = (part if orientation in turns else 0 for part, turns in zip((across, down), MIRRORED, strict=True))
    return Extent(whole.width, whole.height, scale, left, top)
