"""Folders of tiny images as large as the networks of `tests.convert.networks` want them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from convert.images.dataset import ImageSet, find_images


def noise(random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 256, (16, 20, 3), np.uint8)


def black(random: np.random.Generator) -> np.ndarray:
    return np.zeros((16, 20, 3), np.uint8)


def pictures(folder: Path, count: int, draw: Callable[[np.random.Generator], np.ndarray]) -> ImageSet:
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(draw(random)).save(folder / f"{i:03}.png")
    return find_images(folder)
