"""What the scripts that classify one picture share: the picture as floats, and what they print."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

WARMUP = 3


def load(path: str, height: int, width: int) -> np.ndarray:
    """float32 (1, height, width, 3) in -1..1."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), np.float32)
    return (pixels / 127.5 - 1)[np.newaxis]


def answer(run: Callable[[], np.ndarray], runs: int) -> None:
    """Print, as JSON, the class that `run` answers with and, after a warm-up, the median of `runs` times in ms."""
    best = int(np.argmax(run()))
    times = []
    for number in range(WARMUP + runs if runs else 0):
        start = time.perf_counter()
        run()
        if number >= WARMUP:
            times.append(1000 * (time.perf_counter() - start))
    print(json.dumps({"class": best, "ms": statistics.median(times) if times else None}))
