"""The few images on which a float `.tflite` is compared with the Keras network it was made from."""

from __future__ import annotations

from pathlib import Path

from convert.images.dataset import ImageSet

COMPARED_WITH_KERAS = 8


def images_to_compare(images: ImageSet) -> tuple[Path, ...]:
    """Choose a few images, of different classes if there are any: similar ones would show little."""
    folders = images.folders or tuple(map(str, images.paths))
    first_of = {folder: path for path, folder in reversed(list(zip(images.paths, folders, strict=True)))}
    return tuple(first_of.values())[:COMPARED_WITH_KERAS]
