"""Time of an image in a model and in the float network it was made from, measured so that the two can be compared."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime import Classifier, InputSpec
from edge_runtime.benchmark import milliseconds
from edge_runtime.delegates import CPU

ROUNDS, RUNS = 2, 3
"""Turns of each model, and images timed in a turn after one that is not."""


@dataclass(frozen=True)
class Speed:
    """Median milliseconds of an image on this machine's CPU, of a model and of its float network."""

    milliseconds: float
    float_milliseconds: float | None


def compare_speed(model: Path, float_model: Path | None, spec: InputSpec) -> Speed:
    """Time an artifact and its float network in turns, so that what else the machine does slows both.

    Of each the best median of `ROUNDS` counts. `spec` is how the float network's images are prepared; None in place of
    its path if the artifact is that network.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(_open(model, None))]
        if float_model is not None:
            opened.append(stack.enter_context(_open(float_model, spec)))
        turns = [[_median(classifier) for classifier in opened] for _ in range(ROUNDS)]
    best = [round(min(medians), 3) for medians in zip(*turns, strict=True)]
    return Speed(best[0], None if float_model is None else best[1])


def _open(model: Path, spec: InputSpec | None) -> Classifier:
    return Classifier.open(str(model), engine="litert", threads=os.cpu_count() or 1, delegate=CPU, spec=spec)


def _median(classifier: Classifier) -> float:
    """Return the median time of an image, from its pixels to the probabilities, in milliseconds."""
    spec = classifier.spec
    noise = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, spec.channels), np.uint8)
    classifier.run(noise)
    return float(np.median([milliseconds(lambda: classifier.run(noise)) for _ in range(RUNS)]))
