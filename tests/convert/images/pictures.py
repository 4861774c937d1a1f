"""Folders of small grey pictures for tests."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from convert.images.dataset import ImageSet, find_images
from edge_runtime import InputSpec

SPEC = InputSpec(4, 4, mean=(0, 0, 0), std=(1, 1, 1))


def save_picture(path: Path, value: int = 0) -> Path:
    """A 4x4 picture of one grey; other values make other files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, value, value)).save(path)
    return path


def greys(folder: Path, count: int) -> ImageSet:
    """A flat set of `count` pictures, the i-th of grey i."""
    for i in range(count):
        save_picture(folder / f"{i:03}.png", i)
    return find_images(folder)
