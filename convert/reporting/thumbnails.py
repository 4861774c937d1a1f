"""Small copies of images that are embedded in a page, without their metadata."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image, ImageOps

from edge_runtime.preprocess import FORMATS, MAX_PIXELS, to_rgb

SIDE = 224
"""Longest side, pixels: shown at half of it, so that it is sharp on a dense display."""
QUALITY = 82


def thumbnail(path: Path) -> str | None:
    """Return an image as the `data:` URI of a WebP file, rotated as its EXIF data says; None where it cannot be read.

    An image smaller than `SIDE` keeps its size. Location, date and camera are left out.
    """
    try:
        with Image.open(path) as image:
            if image.format not in FORMATS or image.width * image.height > MAX_PIXELS:
                return None
            image.draft("RGB", (2 * SIDE, 2 * SIDE))  # a large JPEG is decoded at a fraction of its size
            upright = to_rgb(ImageOps.exif_transpose(image))
    except Exception:  # on damaged files Pillow raises anything; the page does without the image
        return None
    upright.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    upright.save(file, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
