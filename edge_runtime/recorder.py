"""Records a device's answers as JSON, for a host to compare with its own (`irv2-drift --recorded`)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_runtime.classifier import Classifier
from edge_runtime.errors import ImageError
from edge_runtime.hashing import file_sha256
from edge_runtime.tensors import Probabilities

FORMAT, FORMAT_VERSION = "irv2-edge recording", 1


class Recorder:
    """Collects a classifier's answers and writes them all at once; an interrupted run writes nothing.

    The file is a JSON object: `format`, `version`, `model_sha256` (of the flatbuffer), `labels`, `receipt`, and
    `answers`, a list of {image, sha256, probabilities} with a float for each class, exact to the last bit.
    """

    def __init__(self, path: str, classifier: Classifier) -> None:
        self._path, self._classifier = path, classifier
        self._answers: list[dict[str, Any]] = []

    def add(self, image: str, probabilities: Probabilities) -> None:
        """Keep the probabilities, float32 (classes,), of the image at a path; raise `ImageError` if it is gone."""
        try:
            sha256 = file_sha256(image)
        except OSError as error:
            raise ImageError(f"{image} cannot be recorded: {error.strerror or error}; pass a file") from error
        self._answers.append({"image": image, "sha256": sha256, "probabilities": probabilities.tolist()})

    def __len__(self) -> int:
        """Return how many answers there are."""
        return len(self._answers)

    def cut(self, count: int) -> None:
        """Keep the first `count` answers only."""
        del self._answers[count:]

    def write(self) -> None:
        """Write the file, replacing what is there; after an error nothing is left behind."""
        value = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "model_sha256": self._classifier.model.flatbuffer_sha256(),
            "labels": self._classifier.labels,
            "receipt": asdict(self._classifier.receipt),
            "answers": self._answers,
        }
        partial = Path(f"{self._path}.partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                json.dump(value, file, allow_nan=False)
            partial.replace(self._path)
        finally:
            partial.unlink(missing_ok=True)
