"""Write the bundled image set from Fashion-MNIST: the images, and the manifest that pins them.

    apt-get install dataset-fashion-mnist
    python scripts/build_calibration_data.py

Byte for byte the same each time: the choice is seeded with NumPy's Philox bits, and the PNG files are
written here, since what Pillow writes changes with the zlib it was built with.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from fashion_mnist import INSTALLED, LABELS, Array, read_split

SEED = 2016


class ImageSet(NamedTuple):
    """One folder of images: where they come from and how many of each class it takes."""

    name: str
    split: str
    file_prefix: str
    per_class: int


CALIBRATION = ImageSet("calibration", "train", "train", 20)
VALIDATION = ImageSet("validation", "t10k", "test", 100)


@click.command(help=__doc__)
@click.option("--dataset", type=click.Path(exists=True, path_type=Path), default=INSTALLED, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("calibration_data"), show_default=True)
def main(dataset: Path, output: Path) -> None:
    build(dataset, output)
    for image_set in (CALIBRATION, VALIDATION):
        click.echo(f"{output / image_set.name}: {image_set.per_class * len(LABELS):,} images")


def build(dataset: Path, output: Path) -> None:
    """Replace the image folders and the manifest in `output`.

    Every picture is chosen once: an image whose pixels occur anywhere in the test split, or were
    chosen before, is passed over.
    """
    test_images, _ = read_split(dataset, VALIDATION.split)
    files: list[dict[str, object]] = []
    for image_set, refused in (
        (VALIDATION, set[bytes]()),
        (CALIBRATION, {image.tobytes() for image in test_images}),
    ):
        images, labels = read_split(dataset, image_set.split)
        shutil.rmtree(output / image_set.name, ignore_errors=True)
        for index in sorted(choose(images, labels, image_set.per_class, refused)):
            files.append(_write(output, image_set, index, images[index], int(labels[index])))
    write_manifest(output / "manifest.json", sorted(files, key=lambda file: str(file["path"])))


def write_manifest(path: Path, files: Sequence[dict[str, object]]) -> None:
    """Source, licence, seed and labels, then one line a file, so that a change reads well in a diff."""
    facts = {
        "source": "Fashion-MNIST, https://github.com/zalandoresearch/fashion-mnist, commit 55506a9",
        "licence": "MIT",
        "seed": SEED,
        "labels": LABELS,
    }
    head = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in facts.items())
    rows = ",\n".join(json.dumps(file) for file in files)
    path.write_text(f'{{\n{head}"files": [\n{rows}\n]\n}}\n', encoding="utf-8")


def choose(images: Array, labels: Array, per_class: int, refused: set[bytes]) -> Iterator[int]:
    """Indices of `per_class` random images of every class, none with the pixels of a refused or chosen one."""
    order = np.argsort(np.random.Philox(key=SEED).random_raw(len(images)), kind="stable")
    taken = dict.fromkeys(range(len(LABELS)), 0)
    seen = set(refused)
    for index in order:
        label, pixels = int(labels[index]), images[index].tobytes()
        if taken[label] < per_class and pixels not in seen:
            taken[label] += 1
            seen.add(pixels)
            yield int(index)


def folder_name(label: str) -> str:
    """`t-shirt-top` for `T-shirt/top`: safe on every file system."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def encode_png(image: Array) -> bytes:
    """A uint8 grey image (height, width) as a PNG file; the smaller of unfiltered and row differences."""
    height, width = image.shape
    above = np.vstack([np.zeros((1, width), np.uint8), image[:-1]])
    filtered = ((0, image), (2, image - above))  # filter types of the PNG specification: none, up
    rows = [np.hstack([np.full((height, 1), kind, np.uint8), data]).tobytes() for kind, data in filtered]
    compressed = min((zlib.compress(data, 9) for data in rows), key=len)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", compressed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _write(output: Path, image_set: ImageSet, index: int, image: Array, label: int) -> dict[str, object]:
    """Write one image; returns its row of the manifest."""
    path = Path(image_set.name, folder_name(LABELS[label]), f"{image_set.file_prefix}_{index:05}.png")
    data = encode_png(image)
    (output / path).parent.mkdir(parents=True, exist_ok=True)
    (output / path).write_bytes(data)
    return {
        "path": path.as_posix(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "split": image_set.file_prefix,
        "index": index,
        "label": LABELS[label],
    }


if __name__ == "__main__":
    main()
