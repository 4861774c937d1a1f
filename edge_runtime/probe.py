"""The probe: one fixed picture of noise, to which whatever computes the network must answer as the CPU does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.preprocess import Pixels

IMAGE = "philox4x64-10, key 0"

TOLERANCES = {"float32": 0.02, "uint8": 0.1, "int8": 0.1, "int16": 0.1}
"""Dtype of the network's input -> how far an answer may be off, as a part of the largest expected probability.

Half-precision arithmetic, as on GPUs, is allowed for; of integers, kernels that round ties otherwise.
"""

LOGIT_TOLERANCES = {"float32": 0.2, "uint8": 0.5, "int8": 0.5, "int16": 0.5}
"""Dtype of the network's input -> how large the error of the logits may be, as a part of the logits (14 and 6 dB).

Noise leads some networks to a probability of 1 for one class, whatever goes wrong on the way; their logits tell more.
"""

LEAST_PROBABILITY = 1e-30


@dataclass(frozen=True)
class Probe:
    """What the CPU answers to the probe.

    Attributes:
        probabilities: one for each class, finite.
        image: how the picture is made; `IMAGE`.
    """

    probabilities: tuple[float, ...]
    image: str = IMAGE

    def to_json(self) -> dict[str, Any]:
        """The probe as it stands in a card."""
        return {"image": self.image, "probabilities": list(self.probabilities)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Probe:
        """Read what `to_json` wrote; ValueError, TypeError or KeyError on anything else."""
        probabilities = tuple(float(probability) for probability in value["probabilities"])
        if value["image"] != IMAGE or not all(map(math.isfinite, probabilities)):
            raise ValueError(f"probe {value['image']!r}")
        return cls(probabilities, value["image"])

    @classmethod
    def of(cls, answer: npt.NDArray[np.float32]) -> Probe:
        """The probe that an engine answered with float32 (classes,)."""
        return cls(tuple(float(probability) for probability in answer))

    def difference(self, answer: npt.NDArray[np.float32]) -> float:
        """The largest difference of `answer`, float32 (classes,), to what is expected; NaN when it has one."""
        return float(np.abs(answer.astype(np.float64) - self.probabilities).max())

    def logit_error(self, answer: npt.NDArray[np.float32], step: float) -> float:
        """Norm of the logits' error over that of the expected logits, or over 1 where these are small; NaN for a NaN.

        Args:
            answer: float32 (classes,).
            step: between two neighbouring probabilities of an integer output; 0.0 for floats.
        """
        expected, found = (_logits(np.asarray(row, np.float64), step) for row in (self.probabilities, answer))
        size = float(np.linalg.norm(expected))
        return float(np.linalg.norm(found - expected)) / max(size, 1.0)

    def tolerance(self, dtype: str) -> float:
        """The largest difference that is allowed of a network whose input has this dtype."""
        return TOLERANCES[dtype] * max(self.probabilities)


def probe_pixels(height: int, width: int) -> Pixels:
    """uint8 (height, width, 3): the bytes, lowest first, of the raw 64-bit words of Philox4x64-10 with key 0.

    Raw words are fixed by the algorithm; NumPy's distributions may change between its versions.
    """
    count = height * width * 3
    words = np.random.Philox(key=0).random_raw(-(-count // 8))
    return words.astype("<u8").view(np.uint8)[:count].reshape(height, width, 3)


def _logits(probabilities: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    """What the softmax was taken of, less its mean; what is less than half a step counts as half a step."""
    logarithms = np.log(np.maximum(probabilities, max(step / 2, LEAST_PROBABILITY)))
    return np.asarray(logarithms - logarithms.mean())
