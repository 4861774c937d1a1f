"""Selects the most probable classes of a row of probabilities."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.errors import EngineError
from edge_runtime.tensors import Probabilities


@dataclass(frozen=True)
class Prediction:
    """One class of one image: its index, its label and its probability in 0..1."""

    index: int
    label: str
    probability: float


class TopK:
    """Selects the `top_k` most probable classes, of those that `threshold`, `allow` and `deny` admit."""

    def __init__(
        self,
        labels: Sequence[str],
        top_k: int,
        threshold: float,
        allow: Collection[str] | None,
        deny: Collection[str] | None,
    ) -> None:
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}: ask for at least 1 class")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}: pass a probability in 0..1")
        for name, listed in (("allow", allow), ("deny", deny)):
            if isinstance(listed, str) or (unknown := sorted(set(listed or ()) - set(labels))):
                wrong = listed if isinstance(listed, str) else unknown[0]
                raise ValueError(f"{name} has {wrong!r}: pass a list of the model's own labels")
        self._labels, self._top_k, self._threshold = labels, top_k, threshold
        admitted = set(labels if allow is None else allow) - set(deny or ())
        self._admitted = np.array([label in admitted for label in labels])

    def best(self, probabilities: Probabilities) -> list[Prediction]:
        """Return the most probable of the admitted classes; see `Classifier.best`."""
        if not np.isfinite(probabilities).all():
            raise EngineError("the model answers with NaN or infinity: its weights are damaged; convert it again")
        ranking = np.argsort(-probabilities, kind="stable")
        best = ranking[self._admitted[ranking] & (probabilities[ranking] >= self._threshold)][: self._top_k]
        return [Prediction(int(i), self._labels[i], float(probabilities[i])) for i in best]
