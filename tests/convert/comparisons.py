"""Answers of two networks made up for tests, and the report that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convert.drift.comparison import Comparison
from convert.drift.figures import judge, measure
from convert.drift.predictions import Predictions
from convert.quantization.schemes import SCHEMES
from convert.reporting.outcome import Outcome
from convert.statistics.verdict import Limits

LABELS = ("ant", "bee", "cat", "dog")
SIX_LABELS = (*LABELS, "eel", "fox")
"""Of as many classes top-5 figures say something."""
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</style><style>*{display:none}</style>",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[2J\x00\x07\x9b",
    "caf\udce9\ud800",  # what os.listdir makes of bytes that are no UTF-8, and a lone surrogate
    "\u202egnp.\u2066exe",  # turns the direction of writing
    "]]>--><!--",
)
"""What files and labels may be called, by accident or on purpose."""
DEVICE = {
    "address": "ssh://pi@raspberrypi", "machine": "aarch64", "python": "3.11.2", "connections": 1, "throttled": None,
    "receipt": {"engine": "ai-edge-litert", "version": "2.3.0", "device": "CPU", "threads": 4, "fallback": None},
    "latency_ms": {"p50": 21.3, "p95": 24.9, "p99": 31.0, "first": 58.2}, "startup_ms": {"engine": 311, "model": 88},
    "before": {"clock_khz": None, "temperature_c": None}, "images": 200,
    "after": {"clock_khz": None, "temperature_c": None, "peak_memory_bytes": None},
    "pixels_different": 0, "answers_different": 0, "largest_difference": 0.0, "largest_in": None,
}  # fmt: skip
"""A report's `device`."""


def answers(
    classes: Sequence[int],
    sure: float | Sequence[float] = 0.7,
    labels: Sequence[str] = LABELS,
    paths: Sequence[Path] | None = None,
) -> Predictions:
    """A network that is `sure` of one class of each image, and of the others equally unsure."""
    n, confidence = len(classes), np.broadcast_to(np.asarray(sure, np.float32), len(classes))
    probabilities = np.repeat((1 - confidence[:, np.newaxis]) / (len(labels) - 1), len(labels), axis=1)
    probabilities[np.arange(n), classes] = confidence
    names = [Path(f"photos/{i:03}.png") for i in range(n)] if paths is None else paths
    return Predictions(tuple(names), probabilities.astype(np.float32), tuple(labels))


def comparison(
    reference: Sequence[int], candidate: Sequence[int], truth: Sequence[int] | None = None, **options: Any
) -> Comparison:
    """Two networks, equally sure of these classes."""
    return Comparison(answers(reference, **options), answers(candidate, **options), truth)


def report(compared: Comparison | None, path: str = "build/net.int8.tflite", scheme: str = "int8") -> dict[str, Any]:
    """What `irv2-convert` would write beside the artifact."""
    drift = None if compared is None else measure(compared)
    gate = None if drift is None else judge(drift, Limits())
    return Outcome(SCHEMES[scheme], Path(path), 59_560_482, "e" * 64, drift, gate, {"lowering": 24.1}).to_json()


def everything(compared: Comparison) -> dict[str, Any]:
    """A report that has all that a report may have."""
    value = report(compared)
    value["layers"] = [
        {"name": f"block_{i}/add", "operator": "ADD", "sqnr_db": 40.0 - i, "range_use": 0.8, "saturation": 0.0002}
        for i in range(12)
    ]
    value["blame"] = [{"from": "Keras", "to": "float TFLite", "sqnr_db": 121.3, "agreement": 1.0, "images": 8}]
    tried = {"bytes": 60_000_000, "milliseconds": 17.1, "sqnr_db": 24.8, "agreement": 0.94, "verdict": "fail"}
    value["recovery"] = [tried | {"layers": 0}, tried | {"layers": 3, "agreement": 0.98, "verdict": "pass"}]
    value["float_layers"] = ["block_11/add"]
    points = [{"images": 10, "range_ratio": 0.9}, {"images": 100, "range_ratio": 1.0}]
    value["calibration"] = {"calibrator": "min-max", "images": 100, "convergence": points}
    return value
