"""Images that are no folder yet, as a folder: a list of files or arrays, or one for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from convert.errors import ImageSetError
from convert.images.dataset import comparable
from edge_runtime.arrays import Array

Picture = str | Path | Array
Images = str | Path | Sequence[Picture] | Mapping[str, Sequence[Picture]]
"""A folder; or pictures, each a file or a uint8 array (height, width, 3) in RGB, or (height, width) in grey; or a
dictionary from label to pictures of that class."""


def image_folder(images: Images, scratch: Path) -> Path:
    """Return a folder that holds `images`: the given one, or `scratch` filled with links and lossless PNG files.

    A file that does not exist, or an array that is not a picture, is an `ImageSetError`.
    """
    if isinstance(images, str | Path):
        return Path(images)
    if isinstance(images, Mapping):
        for label, pictures in images.items():
            _fill(scratch / comparable(label), pictures)
    else:
        _fill(scratch, images)
    return scratch


def _fill(folder: Path, pictures: Sequence[Picture]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        if isinstance(picture, str | Path):
            path = Path(picture).resolve()
            if not path.is_file():
                raise ImageSetError(f"image {picture} does not exist or is not a file: pass paths of images")
            (folder / f"{number:06}{path.suffix}").symlink_to(path)
            continue
        if picture.dtype != "uint8" or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (1,), (3,)):
            raise ImageSetError(
                f"image {number} is an array of {picture.dtype} {picture.shape}: "
                "pass uint8 pixels (height, width, 3) in RGB, or (height, width) in grey"
            )
        grey = picture.reshape(picture.shape[:2]) if picture.shape[2:] == (1,) else picture
        Image.fromarray(grey).save(folder / f"{number:06}.png")
