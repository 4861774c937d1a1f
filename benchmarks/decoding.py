"""How far scaled decoding moves pixels and answers, for several gaps; prints two Markdown tables.

python benchmarks/decoding.py build/irv2-demo.none.tflite calibration_data/validation PHOTO...

The photos are any; those of benchmarks/RUNTIME.md are the data of scikit-image and scikit-learn. Each is made so large
that it is decoded at an eighth of its size with just the gap, which is the worst that can happen to it; and as large as
a camera's.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from convert.images.dataset import find_images
from convert.statistics import metrics
from edge_runtime import Classifier
from edge_runtime.jpeg_scaling import DECODINGS
from edge_runtime.preprocess import load_pixels
from edge_runtime.tensors import log_probabilities

GAPS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
SCALE = 8
QUALITY = 90
CAMERA = (4000, 3000)
SUBSAMPLINGS = {"4:2:0": 2, "4:2:2": 1, "4:4:4": 0}


def main(model: str, labelled: str, *photos: str) -> None:
    """Measure and print."""
    DECODINGS.update({str(gap): gap for gap in GAPS})
    with Classifier.open(model) as classifier:
        pictures = [Image.open(photo).convert("RGB") for photo in photos]
        print(f"{len(photos)} photos\n\n| size | gap | colours | mean | PSNR, dB | worst PSNR | SQNR, dB | agreement |")
        print("|---|---|---|---|---|---|---|---|")
        for gap in GAPS:
            side = math.ceil(classifier.spec.width * SCALE * gap)
            for name in SUBSAMPLINGS if gap == DECODINGS["scaled"] else ("4:2:0",):
                print_photos(classifier, pictures, gap, (side, side), name)
        print_photos(classifier, pictures, DECODINGS["scaled"], CAMERA, "4:2:0")
        print(f"\n{of_labelled(classifier, Path(labelled))}")


def print_photos(
    classifier: Classifier, photos: Iterable[Image.Image], gap: float, size: tuple[int, int], colours: str
) -> None:
    """A row: pixels and answers of whole decoding against those of scaled decoding with a gap."""
    files = [jpeg(photo.resize(size, Image.Resampling.LANCZOS), SUBSAMPLINGS[colours]) for photo in photos]
    whole, scaled = (
        np.stack([load_pixels(file, replace(classifier.spec, decode=decode)) for file in files])
        for decode in ("full", str(gap))
    )
    difference = whole.astype(np.float64) - scaled
    squares = (difference**2).mean(axis=(1, 2, 3))
    logits = [log_probabilities(answers(classifier, pixels)) for pixels in (whole, scaled)]
    agreement = metrics.agreement_top_k(*logits, 1).mean()
    quality = " | ".join(f"{10 * math.log10(255**2 / value):.1f}" for value in (squares.mean(), squares.max()))
    print(
        f"| {size[0]} x {size[1]} | {gap:g} | {colours} | {np.abs(difference).mean():.2f} | {quality} "
        f"| {metrics.sqnr_db(*logits):.1f} | {agreement:.2f} |",
        flush=True,
    )


def of_labelled(classifier: Classifier, folder: Path) -> str:
    """Top-1 accuracy and agreement of labelled pictures as they are, as large JPEGs, and as these scaled."""
    images = find_images(folder)
    truth = np.array(images.class_indices(classifier.labels))
    side = math.ceil(classifier.spec.width * SCALE * DECODINGS["scaled"])
    tops: dict[str, list[int]] = {"picture": [], "JPEG, full": [], "JPEG, scaled": []}
    for path in images.paths:
        picture = Image.open(path).convert("RGB")
        file = jpeg(picture.resize((side, side), Image.Resampling.BILINEAR), SUBSAMPLINGS["4:2:0"])
        pixels = [load_pixels(picture, classifier.spec)]
        pixels += [load_pixels(file, replace(classifier.spec, decode=decode)) for decode in ("full", "scaled")]
        for name, one in zip(tops, pixels, strict=True):
            tops[name].append(int(np.argmax(classifier.run(one))))
    lines = ["| pictures | top-1 | agreement with the row above |", "|---|---|---|"]
    before = np.array(tops["picture"])
    for name, found in tops.items():
        lines.append(f"| {name} | {np.mean(found == truth):.1%} | {np.mean(found == before):.1%} |")
        before = np.array(found)
    return f"{len(images)} labelled pictures, {side} x {side}\n\n" + "\n".join(lines)


def jpeg(picture: Image.Image, subsampling: int) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, subsampling=subsampling)
    return file.getvalue()


def answers(classifier: Classifier, pixels: Iterable[np.ndarray]) -> np.ndarray:
    """float32 (N, classes)."""
    return np.stack([np.array(classifier.run(one)) for one in pixels])


if __name__ == "__main__":
    main(*sys.argv[1:])
