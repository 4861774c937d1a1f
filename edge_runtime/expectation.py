"""What a delegate has to answer to the probe, and whether it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edge_runtime.artifact import Model
from edge_runtime.console import native_stderr_silenced
from edge_runtime.engines import AnyEngine
from edge_runtime.errors import DelegateError, EngineError
from edge_runtime.probe import IMAGE, INT8_SCHEMES, LOGIT_TOLERANCES, Probe, answer_probe
from edge_runtime.tensors import Probabilities

UNVERIFIED = "no answer is known to compare with: {}, and the CPU cannot compute the model"
CERTAIN = "the expected answer to the probe is all 0 and 1, which a wrong computation may give, too"


class Comparison(NamedTuple):
    """How far an answer is from what is expected; see `Receipt.probe_difference` and `Receipt.unverified`."""

    difference: float | None
    unverified: str | None


@dataclass(frozen=True)
class Expectation:
    """What is known of a model's answer to the probe.

    Attributes:
        model: settled.
        probe: of the card, or else of the CPU; None if the CPU cannot compute the model.
        missing: why there is no probe.
    """

    model: Model
    probe: Probe | None
    missing: str | None = None

    @classmethod
    def of(cls, model: Model, on_cpu: Callable[[], AnyEngine], on_delegate: Callable[[], AnyEngine]) -> Expectation:
        """Find out what is to be expected of a model, with an engine on the CPU or, if there can be none, another."""
        if model.artifact is not None and model.artifact.card.probe is not None:
            return cls(model, model.artifact.card.probe)
        try:
            settled = model.settled(on_cpu)
            engine = settled.adapted(on_cpu())
            settled.check_io_tensors(engine)
            return cls(settled, Probe.of(engine, settled.spec, settled.input_tensor(engine)))
        except EngineError:
            with native_stderr_silenced():
                missing = "there is no card" if model.artifact is None else "the card has none"
                return cls(model.settled(on_delegate), None, UNVERIFIED.format(missing))

    def check(self, engine: AnyEngine) -> Comparison:
        """Let an engine answer the probe, and compare.

        Raises:
            ArtifactError: its tensors are not the model's.
            DelegateError: its answer is too far from what is expected, or not finite.
            EngineError: it fails.
        """
        self.model.check_io_tensors(engine)
        image = IMAGE if self.probe is None else self.probe.image
        answer = answer_probe(engine, self.model.spec, self.model.input_tensor(engine), image)
        if self.probe is not None:
            certain = CERTAIN if self.probe.is_certain(engine.output.scale or 0.0) else None
            return Comparison(self._difference(self.probe, answer, engine), certain)
        if not np.isfinite(answer).all():
            raise DelegateError("its probabilities are not finite on the probe")
        return Comparison(None, self.missing)

    def _difference(self, probe: Probe, answer: Probabilities, engine: AnyEngine) -> float:
        """Return the largest difference in a probability; raise `DelegateError` if it or the logits' is too large."""
        model = self.model
        is_int8 = model.artifact is not None and model.artifact.card.scheme in INT8_SCHEMES
        dtype = "int8" if is_int8 else engine.input.dtype
        difference, allowed = probe.difference(answer), probe.tolerance(dtype, model.head)
        if not difference <= allowed:  # also if it is NaN
            raise DelegateError(
                f"its probabilities differ from the CPU's by {difference:.4g} on the probe, more than {allowed:.4g}"
            )
        error = probe.logit_error(answer, engine.output.scale or 0.0, model.head)
        most = LOGIT_TOLERANCES[dtype]
        if not error <= most:
            raise DelegateError(f"its logits are off by {error:.2g} of their size on the probe, more than {most:.2g}")
        return difference
