"""Outcomes of conversions made up for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convert.drift.comparison import Comparison
from convert.drift.figures import Drift, judge, measure
from convert.drift.predictions import Predictions
from convert.quantization.schemes import SCHEMES
from convert.reporting.outcome import Outcome
from convert.statistics.verdict import Limits


def measured(wrong: int = 1, labelled: bool = True) -> Drift:
    """200 answers of one class; the candidate gives `wrong` of them another one."""
    classes = np.zeros(200, int)
    rows = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    paths, labels = tuple(Path(f"[bold]{i}.png") for i in range(200)), ("cat", "dog")
    reference = Predictions(paths, rows[classes], labels)
    classes[:wrong] = 1
    candidate = Predictions(paths, rows[classes], labels)
    return measure(Comparison(reference, candidate, [0] * 200 if labelled else None))


def outcome(name: str = "int8", drift: Drift | None = None) -> Outcome:
    gate = None if drift is None else judge(drift, Limits())
    path = Path(f"build/[red]net[/].{name}.tflite")
    return Outcome(SCHEMES[name], path, 62_000_000, "0" * 64, drift, gate, {"lowering": 1.5})
