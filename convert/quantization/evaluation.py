"""Evaluation of a quantized model on held-out images, by which alternatives are chosen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convert.quantization.quantize import QuantizedModel
from convert.statistics import metrics
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import head_of, open_engine, run_over
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.specs import SOFTMAX
from edge_runtime.tensors import encode, logits, to_probabilities

MOST_DB = 60.0
"""The SQNR of equal outputs, and the largest: where a network is certain, its probabilities show no difference."""


@dataclass(frozen=True)
class Score:
    """How close a quantized model comes to the float network, and its median time per image.

    Attributes:
        image_sqnr_db: SQNR in dB of each image's logits, as its probabilities tell them, against the float network's,
            float64 (images,). One SQNR of all images together would be that of the few worst ones.
    """

    image_sqnr_db: Array
    milliseconds: float

    @property
    def sqnr_db(self) -> float:
        """Return the mean over the images."""
        return float(self.image_sqnr_db.mean())

    def is_better_than(self, other: Score) -> bool:
        """Return whether the mean gain per image exceeds twice its standard error: better than by chance."""
        gains = self.image_sqnr_db - other.image_sqnr_db
        return bool(gains.mean() > 2 * gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else False


@dataclass(frozen=True)
class Evaluator:
    """Scores quantized models on held-out images, against the float network's `probabilities`, (images, classes).

    `head` is one of `edge_runtime.specs.HEADS`.
    """

    images: Sequence[Pixels]
    spec: InputSpec
    probabilities: Array
    head: str = SOFTMAX

    @classmethod
    def from_float_model(cls, float_model: bytes, images: Sequence[Pixels], spec: InputSpec) -> Evaluator:
        """Run a float `.tflite` of batch 1 over the images."""
        outputs = run_over(open_engine(float_model), (normalize(pixels, spec) for pixels in images))
        return cls(images, spec, np.stack(list(outputs)), head_of(TfliteGraph(float_model)))

    def score(self, quantized: QuantizedModel) -> Score:
        """Run a quantized model over the images, and compare it with the float network."""
        input_tensor, output_tensor = quantized.io_specs
        tensors = [encode(pixels, self.spec, input_tensor) for pixels in self.images]
        outputs, clock = [], [time.perf_counter()]
        for output in run_over(open_engine(quantized.model), tensors):
            clock.append(time.perf_counter())
            outputs.append(output)
        probabilities, step = to_probabilities(np.stack(outputs), output_tensor), output_tensor.scale or 0.0
        exact, rounded = (logits(x, self.head, step) for x in (self.probabilities, probabilities))
        per_image = [metrics.sqnr_db(*pair) for pair in zip(exact, rounded, strict=True)]
        return Score(np.clip(per_image, -MOST_DB, MOST_DB), 1e3 * float(np.median(np.diff(clock))))
