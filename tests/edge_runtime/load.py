"""Loads a `Classifier` for a long time, prints what it takes then: `load.py answers|openings|kept ARTIFACT COUNT ..."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime import Classifier

PICTURES = 50
WARM_UP = 0.1


def taken(artifact: Path) -> dict[str, int]:
    """Bytes of resident memory, open descriptors, threads, and mappings of the model, of this process; see proc(5)."""
    gc.collect()
    status = Path("/proc/self/statm").read_text().split()
    return {
        "resident": int(status[1]) * os.sysconf("SC_PAGESIZE"),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": fewest_threads(),
        "mappings": Path("/proc/self/maps").read_text().count(os.path.realpath(artifact)),
    }


def fewest_threads() -> int:
    """The fewest seen in half a second: one that was joined may live on in the system for a moment."""
    seen = []
    for _ in range(10):
        seen.append(len(os.listdir("/proc/self/task")))
        time.sleep(0.05)
    return min(seen)


def pictures(classifier: Classifier) -> list[Any]:
    """All different, of a size that has to be changed."""
    random, spec = np.random.default_rng(1), classifier.spec
    shape = (spec.height + 3, spec.width + 5, 3)
    means = random.integers(40, 200, (PICTURES, 1, 1, 3))
    return [np.clip(mean + random.normal(0, 20, shape), 0, 255).astype(np.uint8) for mean in means]


def answers(artifact: Path, count: int, threads: int, workers: int) -> dict[str, Any]:
    """`count` answers, shared by threads, each compared with what one thread alone was told."""
    with Classifier.open(artifact, delegate="cpu", threads=1, workers=workers) as classifier:
        images = pictures(classifier)
        expected = [classifier.predict(image) for image in images]

        def wrong(numbers: range) -> int:
            return sum(classifier.predict(images[i % PICTURES]) != expected[i % PICTURES] for i in numbers)

        def wrong_of_all(begin: int, end: int) -> int:
            with ThreadPoolExecutor(threads) as pool:
                return sum(pool.map(wrong, [range(begin + i, end, threads) for i in range(threads)]))

        first = int(WARM_UP * count)
        found, warm = wrong_of_all(0, first), taken(artifact)
        found += wrong_of_all(first, count)
        after = taken(artifact)
    return {"answers": count, "wrong": found, "warm": warm, "after": after}


def openings(artifact: Path, count: int) -> dict[str, Any]:
    """Open, ask and close a classifier `count` times."""
    with Classifier.open(artifact, delegate="cpu") as classifier:
        image = pictures(classifier)[0]
        expected = classifier.predict(image)
    wrong, warm = 0, {}
    for i in range(count):
        if i == count // 10:
            warm = taken(artifact)
        with Classifier.open(artifact, delegate="cpu", workers=2) as classifier:
            wrong += classifier.predict([image, image]) != [expected, expected]
    return {"wrong": wrong, "warm": warm, "after": taken(artifact)}


def kept(artifact: Path, count: int) -> dict[str, Any]:
    """Close `count` classifiers, but keep them all."""
    held, warm = [], {}
    for i in range(count):
        classifier = Classifier.open(artifact, delegate="cpu")
        classifier.predict(np.zeros((8, 8, 3), np.uint8))
        classifier.close()
        held.append(classifier)
        if i == 0:
            warm = taken(artifact)
    return {"warm": warm, "after": taken(artifact)}


if __name__ == "__main__":
    what, path, *counts = sys.argv[1:]
    print(json.dumps({"answers": answers, "openings": openings, "kept": kept}[what](Path(path), *map(int, counts))))  # type: ignore[operator]
