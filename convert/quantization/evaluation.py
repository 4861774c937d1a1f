"""How a quantized model does on images that it was not fitted to: what alternatives are chosen by."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.quantization.quantize import QuantizedModel
from convert.statistics import metrics
from edge_runtime import InputSpec
from edge_runtime.engines import Engine, choose_engine
from edge_runtime.logits import centred, log_probabilities
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.tensors import dequantize, encode

MOST_DB = 60.0
"""What equal answers count as, and better ones: where a network is certain, its probabilities show no difference."""


@dataclass(frozen=True)
class Score:
    """How a quantized model did.

    Attributes:
        image_sqnr_db: float64 (images,): of the centred log-probabilities of each image against the float network's.
            A sum over images would be that of the few worst ones.
        milliseconds: median time of an image.
    """

    image_sqnr_db: npt.NDArray[np.float64]
    milliseconds: float

    @property
    def sqnr_db(self) -> float:
        """Mean over the images."""
        return float(self.image_sqnr_db.mean())

    def is_better_than(self, other: Score) -> bool:
        """Whether the mean gain, image by image, is more than twice its standard error: better than by chance."""
        gains = self.image_sqnr_db - other.image_sqnr_db
        return bool(gains.mean() > 2 * gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else False


@dataclass(frozen=True)
class Evaluator:
    """Images and what the float network answers: `probabilities` float32 (images, classes)."""

    images: Sequence[Pixels]
    spec: InputSpec
    probabilities: npt.NDArray[np.float32]

    @classmethod
    def of(cls, float_model: bytes, images: Sequence[Pixels], spec: InputSpec) -> Evaluator:
        """Ask the float network."""
        engine = Engine(float_model, choose_engine("litert"), None)
        answers = [engine.run(normalize(pixels, spec)[np.newaxis])[0] for pixels in images]
        return cls(images, spec, np.stack(answers))

    def score(self, quantized: QuantizedModel) -> Score:
        """Ask a quantized network the same."""
        input_tensor, end = quantized.io_specs
        engine = Engine(quantized.model, choose_engine("litert"), None)
        answers: list[npt.NDArray[Any]] = []
        seconds = []
        for pixels in self.images:
            fed = encode(pixels, self.spec, input_tensor)[np.newaxis]
            start = time.perf_counter()
            answers.append(engine.run(fed)[0])
            seconds.append(time.perf_counter() - start)
        probabilities, step = np.stack(answers), 0.0
        if end.scale is not None and end.zero_point is not None:
            probabilities, step = dequantize(probabilities, end.scale, end.zero_point), end.scale
        exact, rounded = (centred(log_probabilities(x, step)) for x in (self.probabilities, probabilities))
        per_image = [metrics.sqnr_db(*pair) for pair in zip(exact, rounded, strict=True)]
        return Score(np.clip(per_image, -MOST_DB, MOST_DB), 1e3 * float(np.median(seconds)))
