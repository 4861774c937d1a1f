"""Time of an image in a model and in the float network it was made from, measured so that the two can be compared."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edge_runtime import InputSpec
from edge_runtime.benchmark import measure

ROUNDS, WARMUP, RUNS = 2, 1, 5


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
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(_median(model, None))
        if float_model is not None:
            theirs.append(_median(float_model, spec))
    return Speed(round(min(ours), 3), round(min(theirs), 3) if theirs else None)


def _median(model: Path, spec: InputSpec | None) -> float:
    speed, _ = measure(str(model), "litert", os.cpu_count() or 1, WARMUP, RUNS, spec=spec)
    return speed.p50_ms
