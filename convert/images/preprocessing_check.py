"""Check that a float network gets its images the way it was trained on them: wrong preprocessing raises no error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from convert.errors import SourceError
from convert.images.conventions import CONVENTIONS, input_spec
from convert.images.dataset import ImageSet
from convert.images.feeding import Scaling
from convert.images.reader import PixelReader, refuse_unreadable
from convert.tflite.interpreter import open_engine, run_over
from edge_runtime import InputSpec
from edge_runtime.preprocess import normalize

IMAGES = 40
GOOD_ENOUGH = 0.5
"""Accuracy with the given preprocessing from which on no other is tried."""
FAR_BETTER = 2.0
FEWEST_RIGHT = 0.25
"""Another preprocessing is suggested if it is this many times as accurate as the given one, and at least this much."""


def refuse_wrong_preprocessing(
    float_model: bytes, spec: InputSpec, labels: Sequence[str], images: ImageSet | None, said: InputSpec | None = None
) -> None:
    """Raise `SourceError` if a usual preprocessing makes a network far more accurate than the given one, `spec`.

    The float `.tflite` of batch 1 runs over the first `IMAGES` images, labelled by their folders. Nothing is checked
    without folders, or if one is not among the network's `labels`. `said` is what the user said, if that differs from
    `spec`, which tells what the network's file makes of such images.
    """
    if images is None or not images.folders or not set(images.folders) <= set(labels):
        return
    few, reader = images[:IMAGES], PixelReader(spec)
    read = list(reader.read(few))
    refuse_unreadable(reader.skipped, few)
    if not read:
        return
    classes = [labels.index(images.folders[i]) for i, _ in read]
    engine = open_engine(float_model)

    def accuracy(tried: InputSpec) -> float:
        step = 1 if tried.channel_order == spec.channel_order else -1
        outputs = run_over(engine, (normalize(p[..., ::step], tried) for _, p in read))
        return float(np.mean([np.argmax(output) == c for output, c in zip(outputs, classes, strict=True)]))

    given = accuracy(spec)
    if given >= GOOD_ENOUGH:
        return
    for name, other in _alternatives(spec, said or spec):
        found = accuracy(other)
        if found >= max(FAR_BETTER * given, FEWEST_RIGHT):
            raise SourceError(
                f"the float network is right on {given:.0%} of {len(read)} labelled images as they are prepared now, "
                f"and on {found:.0%} with {name}: check --preprocessing"
            )


def _alternatives(spec: InputSpec, given: InputSpec) -> Iterator[tuple[str, InputSpec]]:
    """Yield other preprocessings in place of `given`, each with the option or words that name it."""
    front = Scaling.between(given, spec)
    for name, convention in CONVENTIONS.items():
        if spec.channels == 3 or convention.serves_grey:
            other = input_spec(name, spec.height, spec.width, spec.channels)
            said = replace(spec, mean=other.mean, std=other.std, channel_order=other.channel_order)
            yield f"--preprocessing {name}", front.behind(said)
    if spec.channels == 1:
        return
    turned = "BGR" if spec.channel_order == "RGB" else "RGB"
    yield f"channels in the order {turned}", replace(spec, channel_order=turned)
