"""The probe: a fixed image of noise, which every delegate must answer as the CPU does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.engines import AnyEngine
from edge_runtime.preprocess import Pixels
from edge_runtime.specs import SOFTMAX, THRESHOLD, InputSpec, TensorSpec
from edge_runtime.tensors import Probabilities, encode, logits, run

IMAGE = "philox4x64-10, key 0"
CONTRASTS = {IMAGE: 1, f"{IMAGE}, contrast 1/4": 4, f"{IMAGE}, contrast 1/16": 16}
"""Images, in the order in which they are tried -> by what the noise is divided.

Noise of full contrast makes some networks give one class a probability of 1, which shows little of what goes wrong.
"""

TOLERANCES = {"float32": 0.02, "uint8": 0.1, "int8": 0.1, "int16": 0.1}
"""Dtype of the network -> how far an answer may be off, relative to the largest expected probability.

This allows for half-precision arithmetic, as on GPUs, and for integer kernels that round ties differently: LiteRT's own
differ by 0.033 on EfficientNet-Lite0 in int8.
"""
INT8_SCHEMES = ("int8", "mixed")
"""Schemes of networks that are int8 behind an input of any dtype; of others, and without a card, it is the input's."""

LOGIT_TOLERANCES = {"float32": 0.2, "uint8": 0.5, "int8": 0.5, "int16": 0.5}
"""Dtype of the network -> how large the error of the logits may be, relative to the logits (14 and 6 dB).

For noise, some networks give one class a probability of 1 whatever goes wrong on the way; their logits reveal more.
"""

LEAST_PROBABILITY = 1e-30


@dataclass(frozen=True)
class Probe:
    """The CPU's answer to the probe: a finite probability for each class; `image` is one of `CONTRASTS`."""

    probabilities: tuple[float, ...]
    image: str = IMAGE

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Probe:
        """Read a probe from a card; raise `ValueError`, `TypeError` or `KeyError` for anything else."""
        probabilities = tuple(map(float, value["probabilities"]))
        if value["image"] not in CONTRASTS or not all(map(math.isfinite, probabilities)):
            raise ValueError(f"probe {value['image']!r}")
        return cls(probabilities, value["image"])

    @classmethod
    def of(cls, engine: AnyEngine, spec: InputSpec, input_tensor: TensorSpec) -> Probe:
        """Return an engine's answer to the first image of which it is not certain; raise `EngineError` if it fails."""
        step, probes = engine.output.scale or 0.0, []
        for image in CONTRASTS:
            probes.append(cls(tuple(answer_probe(engine, spec, input_tensor, image).tolist()), image))
            if not probes[-1].is_certain(step):
                return probes[-1]
        return probes[0]

    def is_certain(self, step: float) -> bool:
        """Return whether every probability is 0 or 1, which other logits give, too; `step` as in `logit_error`."""
        return not any(max(step, LEAST_PROBABILITY) < each < 1 - step for each in self.probabilities)

    def difference(self, answer: npt.NDArray[np.float32]) -> float:
        """Return the largest difference of `answer`, float32 (classes,), from what is expected; NaN if it has one."""
        return float(np.abs(answer.astype(np.float64) - self.probabilities).max())

    def logit_error(self, answer: npt.NDArray[np.float32], step: float, head: str = SOFTMAX) -> float:
        """Return the norm of the logits' error relative to that of the expected logits, or to 1 if that is smaller.

        Args:
            answer: float32 (classes,); the result is NaN if it has one.
            step: distance between neighbouring probabilities of an integer output; 0.0 for floats.
            head: one of `specs.HEADS`.
        """
        rows = (np.asarray(self.probabilities), np.asarray(answer))
        expected, found = (logits(row, head, step, LEAST_PROBABILITY) for row in rows)
        return float(np.linalg.norm(found - expected)) / max(float(np.linalg.norm(expected)), 1.0)

    def tolerance(self, dtype: str, head: str = SOFTMAX) -> float:
        """Return the largest `difference` allowed to a network of this dtype.

        Independent labels may all be improbable for noise; what counts is whether one could cross the threshold.
        """
        most = max(self.probabilities)
        return TOLERANCES[dtype] * (most if head == SOFTMAX else max(most, THRESHOLD))


def probe_pixels(height: int, width: int, channels: int = 3, image: str = IMAGE) -> Pixels:
    """Return the probe, uint8 (height, width, channels): noise around mid-gray.

    It is the raw 64-bit words of Philox4x64-10 with key 0, lowest byte first. Raw words are fixed by the algorithm;
    NumPy's distributions may change between versions.
    """
    part = CONTRASTS[image]
    count = height * width * channels
    words = np.random.Philox(key=0).random_raw(-(-count // 8))
    noise = words.astype("<u8").view(np.uint8)[:count].reshape(height, width, channels)
    return noise // np.uint8(part) + np.uint8(128 - 128 // part)


def answer_probe(engine: AnyEngine, spec: InputSpec, input_tensor: TensorSpec, image: str = IMAGE) -> Probabilities:
    """Return an engine's probabilities, float32 (classes,), for the probe; raise `EngineError` if it fails."""
    return run(engine, encode(probe_pixels(spec.height, spec.width, spec.channels, image), spec, input_tensor))
