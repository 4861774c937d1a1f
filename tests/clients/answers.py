"""Answers about pictures: ours, and those of a client."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.artifact import open_artifact
from tests.conftest import run_command

SAME_ARITHMETIC = 1e-4
"""XNNPACK, or float: sums in another order. The largest difference in a probability; measured on x86-64: 1.6e-5."""
OTHER_ROUNDING = 0.2
"""Kernels for int8 without XNNPACK, which round otherwise: tflite-runtime 2.14 and MediaPipe. Measured: 0.14."""


@dataclass(frozen=True)
class Predictions:
    """Answers about pictures, in their order.

    Attributes:
        labels: of the classes, in the network's order.
        probabilities: float64 (pictures, classes).
    """

    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]

    @property
    def first(self) -> list[str]:
        """The label of the most probable class of each picture."""
        return [self.labels[i] for i in self.probabilities.argmax(axis=1)]


def is_close(answers: Predictions, expected: Predictions, bound: float) -> bool:
    """Whether every first answer is the same, and no probability differs by more than `bound`."""
    furthest = np.abs(answers.probabilities - expected.probabilities).max()
    return bool(answers.first == expected.first and furthest <= bound)


def ours(artifact: Path, pictures: list[Path]) -> Predictions:
    """What `irv2-predict` answers here."""
    labels = open_artifact(artifact).labels
    return read_answers(run_command("irv2-predict", artifact, *pictures, "--json", "--top-k", len(labels)).out, labels)


def read_answers(lines: str, labels: tuple[str, ...]) -> Predictions:
    """Of `irv2-predict --json`."""
    rows = [json.loads(line)["predictions"] for line in lines.splitlines()]
    named = [{answer["label"]: answer["probability"] for answer in row} for row in rows]
    return Predictions(labels, np.array([[row[label] for label in labels] for row in named]))
