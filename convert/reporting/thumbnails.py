"""Small copies of pictures that travel inside a page, without what a camera wrote beside the pixels."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image, ImageOps

from edge_runtime.preprocess import FORMATS, MAX_PIXELS, to_rgb

SIDE = 224
"""Longest side, pixels: sharp at half of it on a dense display."""
QUALITY = 82


def thumbnail(path: Path) -> str | None:
    """A picture as a `data:` URI of a WebP file, upright as its EXIF data say; None where it cannot be read.

    A picture smaller than `SIDE` keeps its size. Place, date and camera stay behind.
    """
    try:
        with Image.open(path) as image:
            if image.format not in FORMATS or image.width * image.height > MAX_PIXELS:
                return None
            image.draft("RGB", (2 * SIDE, 2 * SIDE))  # a large JPEG is decoded at a fraction of its size
            upright = to_rgb(ImageOps.exif_transpose(image))
    except Exception:  # on damaged files Pillow raises whatever it stumbles over; the page does without the picture
        return None
    upright.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    upright.save(file, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
