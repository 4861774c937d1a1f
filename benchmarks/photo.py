"""A photograph to the network's pixels: METHOD PHOTO MODEL; prints the median time in ms as JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from edge_runtime import InputSpec
from edge_runtime.artifact import open_artifact
from edge_runtime.preprocess import Pixels, load_pixels

RUNS = 9


def whole(photo: str, spec: InputSpec) -> Pixels:
    """Decoded whole, then resized: what one writes with Pillow."""
    with Image.open(photo) as image:
        return np.asarray(image.convert("RGB").resize((spec.width, spec.height), Image.Resampling.BILINEAR))


METHODS: dict[str, Callable[[str, InputSpec], Pixels]] = {"load_pixels": load_pixels, "pillow": whole}


def main(method: str, photo: str, model: str) -> None:
    """One run is not counted."""
    spec, times = open_artifact(model).card.preprocessing, []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        METHODS[method](photo, spec)
        times.append(1000 * (time.perf_counter() - start))
    print(json.dumps({"ms": statistics.median(times[1:])}))


if __name__ == "__main__":
    main(*sys.argv[1:])
