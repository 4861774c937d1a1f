"""Photographs for the benchmark of trained networks: found in a folder, split, and prepared for each network.

A folder holds either one folder per class, or, as the public samples of ImageNet do, one file per class whose name is
its label: `n01440764_tench.JPEG`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
CALIBRATION = 100
FITS = ("crop", "stretch")


@dataclass(frozen=True)
class Photograph:
    """A file, and the label of what it shows."""

    path: Path
    label: str


@dataclass(frozen=True)
class Split:
    """Photographs to calibrate on and others to judge by, and all labels, sorted, which is ImageNet's order."""

    calibration: tuple[Photograph, ...]
    validation: tuple[Photograph, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Geometry:
    """How a photograph becomes square.

    Attributes:
        pixels: height and width.
        fit: "crop": the square in the middle of it is kept; "stretch": all of it.
        fraction: of the shorter side, how much the square has.
        resample: Pillow's filter, antialiased.
    """

    pixels: int
    fit: str
    fraction: float
    resample: Image.Resampling


def find_photographs(folder: Path) -> list[Photograph]:
    """Return all photographs below a folder, sorted; none is a `ValueError`."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    found = [Photograph(path, path.stem if path.parent == folder else path.parent.name) for path in paths]
    if not found:
        raise ValueError(f"no photograph below {folder}: give a folder of JPEG files, one folder or file per class")
    return found


def split(folder: Path, most: int, calibration: int = CALIBRATION) -> Split:
    """Return the same split of a folder anywhere: in the order of the SHA-256 of the files' names.

    Args:
        folder: of photographs.
        most: validation photographs.
        calibration: calibration photographs.

    Raises:
        ValueError: there are too few for both.
    """
    found = find_photographs(folder)
    if len(found) <= calibration:
        raise ValueError(f"{len(found)} photographs below {folder}, more than {calibration} are needed")
    labels = tuple(sorted({photograph.label for photograph in found}))
    shuffled = sorted(found, key=lambda photograph: _key(photograph.path.relative_to(folder)))
    return Split(tuple(shuffled[:calibration]), tuple(shuffled[calibration : calibration + most]), labels)


def _key(path: Path) -> str:
    return hashlib.sha256(path.as_posix().encode()).hexdigest()


def squared(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Return a picture at the network's size. The one place that knows geometry: a card that says it can replace it."""
    size = (geometry.pixels, geometry.pixels)
    image = image.convert("RGB")
    if geometry.fit == "stretch":
        return image.resize(size, geometry.resample)
    side = round(geometry.fraction * min(image.size))
    left, top = (round((length - geometry.fraction * min(image.size)) / 2) for length in image.size)
    return image.crop((left, top, left + side, top + side)).resize(size, geometry.resample)


def prepare(photographs: Sequence[Photograph], geometry: Geometry, folder: Path, *, in_classes: bool) -> None:
    """Write the photographs as PNG at the network's size, each into the folder of its class if there are classes.

    What an earlier run left in the folder is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    jobs = []
    for photograph in photographs:
        name = f"{photograph.path.stem}.png"
        path = folder / photograph.label / name if in_classes else folder / f"{photograph.label}-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        jobs.append((photograph.path, geometry, path))
    with ProcessPoolExecutor(2) as processes:
        list(processes.map(_prepare_one, jobs, chunksize=50))


def _prepare_one(job: tuple[Path, Geometry, Path]) -> None:
    source, geometry, path = job
    with Image.open(source) as image:
        squared(image, geometry).save(path, compress_level=1)
