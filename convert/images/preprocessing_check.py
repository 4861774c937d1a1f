"""Whether a float network sees its images the way it was trained to: wrong preprocessing raises no error anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from convert.errors import SourceError
from convert.images.conventions import CONVENTIONS
from convert.images.dataset import ImageSet
from convert.images.reader import PixelReader, refuse_unreadable
from edge_runtime import InputSpec
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.preprocess import Pixels, normalize

IMAGES = 40
GOOD_ENOUGH = 0.5
"""Part of the answers that are right with the given preprocessing: with as many, no other is tried."""
FAR_BETTER = 2.0
FEWEST_RIGHT = 0.25
"""Another way to prepare images is named when it has this many times the right answers, and at least this part."""


def refuse_wrong_preprocessing(
    float_model: bytes, spec: InputSpec, labels: Sequence[str], images: ImageSet | None
) -> None:
    """Compare the given preprocessing with the usual ones on a few labelled images; says nothing without labels.

    Raises:
        SourceError: another way of preparing them gives far more right answers.
    """
    if images is None or not images.folders or not set(images.folders) <= set(labels):
        return
    few = images[:IMAGES]
    reader = PixelReader(spec)
    read = list(reader.read(few))
    refuse_unreadable(reader.skipped, few)
    pixels, classes = [p for _, p in read], [labels.index(few.folders[i]) for i, _ in read] if few.folders else []
    engine = Engine(float_model, choose_engine("litert"), None)

    def right(tried: InputSpec) -> float:
        turned = [p if tried.channel_order == spec.channel_order else p[..., ::-1] for p in pixels]
        return float(np.mean([_first(engine, p, tried) == c for p, c in zip(turned, classes, strict=True)]))

    given = right(spec)
    if given >= GOOD_ENOUGH or not pixels:
        return
    for name, other in _alternatives(spec):
        found = right(other)
        if found >= max(FAR_BETTER * given, FEWEST_RIGHT):
            raise SourceError(
                f"the float network is right on {given:.0%} of {len(pixels)} labelled images as they are prepared now, "
                f"and on {found:.0%} with {name}: check --preprocessing"
            )


def _first(engine: Engine, pixels: Pixels, spec: InputSpec) -> int:
    return int(np.argmax(engine.run(normalize(pixels, spec)[np.newaxis])[0]))


def _alternatives(spec: InputSpec) -> Iterator[tuple[str, InputSpec]]:
    for name, convention in CONVENTIONS.items():
        yield (
            f"--preprocessing {name}",
            replace(spec, mean=convention.mean, std=convention.std, channel_order=convention.channel_order),
        )
    turned = "BGR" if spec.channel_order == "RGB" else "RGB"
    yield f"channels in the order {turned}", replace(spec, channel_order=turned)
