"""What a network said of a set of images, and which of its classes are which of another network's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime import ArtifactError
from edge_runtime.arrays import Array


@dataclass(frozen=True)
class Predictions:
    """Probabilities float32 (N, classes) of one network for the images at `paths`, and its labels.

    `skipped` has a message for each image that could not be read; `step` is `Classifier.step`.
    """

    paths: tuple[Path, ...]
    probabilities: Array
    labels: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    step: float = 0.0

    def first(self, count: int) -> Predictions:
        """The answers to the first `count` images."""
        return replace(self, paths=self.paths[:count], probabilities=self.probabilities[:count])


def class_order(labels: Sequence[str], candidate: Sequence[str]) -> list[int]:
    """For each of the reference's `labels` its column in the candidate's answers.

    Raises:
        ArtifactError: the two do not tell the same classes apart.
    """
    if sorted(labels) != sorted(candidate):
        missing = sorted(set(labels) ^ set(candidate))[:3]
        raise ArtifactError(
            f"reference and candidate do not tell the same classes apart, only one of them has {missing}: "
            "compare models with the same labels"
        )
    column = {label: i for i, label in enumerate(candidate)}
    return [column[label] for label in labels]
