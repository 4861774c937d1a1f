"""An engine over a foreign model that answers as one over ours: one image in, a probability for each class out."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from edge_runtime.arrays import Array
from edge_runtime.conventions import CONVENTIONS
from edge_runtime.engines import AnyEngine
from edge_runtime.errors import ArtifactError, EngineError
from edge_runtime.foreign.file import INDEPENDENT, LOGITS, PROBABILITIES, ForeignFile
from edge_runtime.preprocess import normalize
from edge_runtime.probe import probe_pixels
from edge_runtime.specs import InputSpec, TensorSpec
from edge_runtime.tensors import encode, to_probabilities

SUM_TOLERANCE = 0.02
MOST_CLIPPED, WORTH_A_WORD = 0.5, 0.1
"""Part of the pixel values that an integer input cannot hold: from here on it is refused, and from here on said."""


class ForeignEngine:
    """An engine over a foreign model that answers as one over ours: (1, classes), a probability for each.

    `remarks` say what was done to its answers or its pixels; see `AnyEngine` for the other attributes.

    Raises:
        ArtifactError: its output is no list of scores, or its input cannot hold the pixels.
    """

    def __init__(self, engine: AnyEngine, file: ForeignFile, spec: InputSpec) -> None:
        self._engine, self._answers = engine, file.answers
        self.choice, self.placement, self.device = engine.choice, engine.placement, engine.device
        self.input_shape, self.input = engine.input_shape, engine.input
        remarks = []
        if file.takes_pixels:
            if (set(spec.mean), set(spec.std)) != ({0.0}, {1.0}):
                raise ArtifactError(
                    f"{file.path} takes {engine.input.dtype} pixels as they are: pass --preprocessing none, or leave "
                    "it out"
                )
            self.input = replace(engine.input, encoding="pixels")
        else:
            remarks += _clipped(file, engine.input, spec)
        self._scores = _scores(engine.output_shape)
        self._is_single = self._scores == 1 and file.answers == INDEPENDENT
        if self._scores < 2 and not self._is_single:
            raise ArtifactError(
                f"the model's output is {engine.output_shape}, not one score for each class: pass a model that "
                "classifies images"
            )
        self.output_shape: tuple[int, ...] = (1, 2 if self._is_single else self._scores)
        self.output = engine.output
        if self._answers == LOGITS or self._is_single:
            self.output = TensorSpec(engine.output.name, "float32")
        if self._answers == LOGITS:
            remarks.append("the model answers logits: a softmax makes them probabilities")
        if self._is_single:
            remarks.append("the model answers one number: the probability of the second label")
        self.remarks = tuple(remarks)

    def run(self, tensor: Array) -> Array:
        """Return the output tensor for one input tensor; see `AnyEngine`."""
        scores = self.scores(tensor)
        values = to_probabilities(scores, self._engine.output)
        if self._answers == LOGITS:
            return _softmax(values)
        low, high = float(values.min()), float(values.max())
        if low < -SUM_TOLERANCE or high > 1 + SUM_TOLERANCE:
            raise EngineError(f"the model answers {low:.4g} to {high:.4g}, which are no probabilities: it is damaged")
        return np.concatenate([1 - values, values], axis=1) if self._is_single else scores

    def scores(self, tensor: Array) -> Array:
        """Return what the model itself answers, as (1, scores)."""
        answer = self._engine.run(tensor)
        if answer.size != self._scores:
            raise EngineError(
                f"the model answers {answer.size} numbers where its output has {self._scores}: pass a model that "
                "classifies images"
            )
        return answer.reshape(1, self._scores)


def _scores(shape: tuple[int, ...]) -> int:
    """Return the number of scores in an output with one axis of them; 0 for any other."""
    return prod(shape) if shape and sum(n != 1 for n in shape) <= 1 and (len(shape) < 2 or shape[0] == 1) else 0


def _softmax(logits: Array) -> Array:
    wide = logits.astype(np.float64)
    if not np.isfinite(wide).all():
        raise EngineError("the model answers with NaN or infinity: its weights are damaged; convert it again")
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _range(tensor: TensorSpec) -> tuple[float, float]:
    """Return the least and the largest number that a tensor can hold."""
    if tensor.scale is None or tensor.zero_point is None:
        return -np.inf, np.inf
    limits = np.iinfo(np.dtype(tensor.dtype))
    return tensor.scale * (limits.min - tensor.zero_point), tensor.scale * (limits.max - tensor.zero_point)


def _clipped(file: ForeignFile, tensor: TensorSpec, spec: InputSpec) -> list[str]:
    """Say which part of the pixel values an integer input cannot hold; too many are an `ArtifactError`."""
    if tensor.scale is None or tensor.zero_point is None:
        return []
    low, high = _range(tensor)
    values = normalize(np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], spec.channels, axis=1), spec)
    slack = 0.02 * (high - low)
    outside = float(np.mean((values < low - slack) | (values > high + slack)))
    if outside < WORTH_A_WORD:
        return []
    said = (
        f"the input holds {low:.4g} to {high:.4g}, and pixels are prepared as {values.min():.4g} to {values.max():.4g}"
    )
    if outside >= MOST_CLIPPED:
        raise ArtifactError(f"{file.path}: {said}, most of them out of its range: {_fitting(low, high)}")
    return [f"{said}: {outside:.0%} of the values are clipped"]


def _fitting(low: float, high: float) -> str:
    """Name the conventions whose values fill a range, or say what else to do."""
    fitting = []
    for name, convention in CONVENTIONS.items():
        ends = [(pixel - m) / s for pixel in (0, 255) for m, s in zip(convention.mean, convention.std, strict=True)]
        slack = 0.1 * (high - low)
        if low - slack <= min(ends) and max(ends) <= high + slack and max(ends) - min(ends) >= (high - low) / 2:
            fitting.append(name)
    if fitting:
        return f"--preprocessing {' or '.join(fitting)} would fit"
    return "its range was calibrated on other images than these; quantize it again"


def settled(file: ForeignFile, engine: AnyEngine, spec: InputSpec) -> ForeignFile:
    """Return a file with `answers` known: from the graph, or else from the engine's answer to the probe."""
    if file.is_settled:
        return file
    tested = ForeignEngine(engine, replace(file, answers=PROBABILITIES), spec)
    low, high = _range(tested.output)
    if low >= 0 and high <= 1:  # as TensorFlow Lite has it behind a softmax; rounded, they need not add up to 1
        return replace(file, answers=PROBABILITIES)
    tensor = encode(probe_pixels(spec.height, spec.width, spec.channels), spec, tested.input)
    answer = to_probabilities(tested.scores(tensor[np.newaxis]), tested.output)
    is_distribution = bool(answer.min() >= -SUM_TOLERANCE and abs(float(answer.sum()) - 1) <= SUM_TOLERANCE)
    return replace(file, answers=PROBABILITIES if is_distribution else LOGITS)
