"""A model cut off after an operator, on a delegate, beside the CPU's plain kernels.

A cut has everything up to an operator, and gives away every tensor that is still read behind it: all that the rest of
the model depends on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ai_edge_litert.interpreter import OpResolverType

from convert.audit.cut_run import compute_on
from convert.audit.inspection import InspectedFile
from convert.statistics.metrics import MAXIMUM_SQNR_DB, sqnr_db
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import HEAD_OF, ends_in, open_interpreter
from convert.tflite.operators import Operator
from edge_runtime.arrays import Array
from edge_runtime.console import native_stderr_silenced
from edge_runtime.delegation import Delegation
from edge_runtime.engines import import_interpreter, refusals_reworded
from edge_runtime.errors import EngineError
from edge_runtime.probe import IMAGE, TOLERANCES, probe_pixels
from edge_runtime.tensors import encode

RIGHT_DB = 30.0
"""Signal-to-noise ratio from which on a tensor is right.

LiteRT's GPU has 31 dB and more in the int8 demo, where an operator that writes nonsense into a residual branch leaves
11 to 28 dB behind it: what is added to the trunk is a fraction.
"""
KERNELS_DB = 6.0
"""How much farther than XNNPACK from the plain kernels a delegate may be, where these differ much themselves."""

RIGHT, WRONG, FAILS = "right", "wrong", "fails"


@dataclass(frozen=True)
class Comparison:
    """A cut of the model, compared with the CPU.

    Attributes:
        operators: how many are in it.
        verdict: "right", "wrong", or "fails" where there is no answer.
        tensor: name of the worst of the tensors that it gives away.
        sqnr_db: of that tensor, signal-to-noise ratio to the CPU's in dB; -999 where it is not finite, 999 where equal.
        max_abs_error: of that tensor, in real values; null where it is not finite.
        kernels_db: the same ratio between the CPU's own kernels, XNNPACK and plain; null where it does not matter.
        reason: why there is no answer; else null.
    """

    operators: int
    verdict: str
    tensor: str | None = None
    sqnr_db: float | None = None
    max_abs_error: float | None = None
    kernels_db: float | None = None
    reason: str | None = None


class Cuts:
    """All cuts of a model, with the CPU's value of every tensor.

    Attributes:
        graph: of the model.
        operators: those that depend on an input, and that an output depends on, in order of execution.
        given: what the inputs are, in words.

    Raises:
        EngineError: the CPU cannot compute the model.
        LoweringError: it has several subgraphs.
    """

    def __init__(self, file: InspectedFile, delegation: Delegation) -> None:
        self.graph, self._delegation = TfliteGraph(file.flatbuffer), delegation
        self.given, self._inputs = _probe(self.graph, file)
        self.operators = self._on_the_way()
        self._expected = self._compute_on_cpu(file.flatbuffer)

    def compare(self, count: int) -> Comparison:
        """Compute the first `count` operators on the delegate, and compare what they give away."""
        given_away = self._given_away(count)
        needed = self.graph.needed_for(given_away)
        read = {i for operator in needed for i in operator.inputs}
        inputs = [i for i in self.graph.inputs if i in read]
        part, _ = self.graph.piece(needed, inputs, given_away)
        try:
            found = compute_on(self._delegation, part, [self._inputs[i] for i in inputs])
        except EngineError as error:
            return Comparison(count, FAILS, reason=str(error))
        compared = [self._compared(count, *pair) for pair in zip(given_away, found, strict=True)]
        if any(each.verdict == WRONG for each in compared):
            others = self._on_xnnpack(part, [self._inputs[i] for i in inputs])
            compared = [self._allowed(*each) for each in zip(compared, given_away, others, strict=True)]
        return min(compared, key=lambda each: (each.verdict == RIGHT, each.sqnr_db))

    def _compared(self, count: int, index: int, found: Array) -> Comparison:
        """Compare one tensor; integers that are one step off at most are right, however small they are."""
        name, expected = self.graph.tensor_name(index), self._expected[index]
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            return Comparison(count, WRONG if np.isfinite(expected).all() else RIGHT, name, -MAXIMUM_SQNR_DB)
        ratio, scale = self._ratio(index, found), (self.graph.quantization(index) or (1.0, 0))[0]
        steps = float(np.abs(found.astype(np.float64) - expected).max(initial=0))
        is_right = ratio >= RIGHT_DB or (found.dtype.kind != "f" and steps <= 1) or self._is_near(index, steps * scale)
        return Comparison(count, RIGHT if is_right else WRONG, name, ratio, steps * scale)

    def _is_near(self, index: int, error: float) -> bool:
        """Return whether a head's probabilities are as near as the probe asks, whose logits are compared beside them.

        A softmax makes more of what is off in its logits than a ratio of probabilities should count.
        """
        head = ends_in(self.graph)
        if head is None or head.name not in HEAD_OF or index not in head.outputs:
            return False
        most = float(np.abs(self._real(index, self._expected[index])).max(initial=0))
        return error <= most * TOLERANCES.get(self.graph.dtype(self.graph.inputs[0]), TOLERANCES["float32"])

    def _allowed(self, compared: Comparison, index: int, on_xnnpack: Array) -> Comparison:
        """Call a tensor right that is not much farther from the plain kernels than XNNPACK is."""
        kernels = self._ratio(index, on_xnnpack)
        if compared.verdict == WRONG and compared.max_abs_error is not None and compared.sqnr_db is not None:
            verdict = RIGHT if compared.sqnr_db >= kernels - KERNELS_DB else WRONG
            return replace(compared, verdict=verdict, kernels_db=kernels)
        return compared

    def _ratio(self, index: int, found: Array) -> float:
        real, other = (self._real(index, values) for values in (self._expected[index], found))
        return float(np.clip(sqnr_db(real, other), -MAXIMUM_SQNR_DB, MAXIMUM_SQNR_DB))

    def _real(self, index: int, values: Array) -> Array:
        scale, zero_point = self.graph.quantization(index) or (1.0, 0)
        return (values.astype(np.float64) - zero_point) * scale

    def _given_away(self, count: int) -> list[int]:
        """Return what the first operators write that later ones read, or that is an output, and the logits."""
        later = {i for operator in self.operators[count:] for i in operator.inputs} | set(self.graph.outputs)
        if (head := ends_in(self.graph)) is not None and head.name in HEAD_OF:
            later.add(head.inputs[0])  # the logits: of an image of noise, probabilities may be alike whatever they are
        return [i for operator in self.operators[:count] for i in operator.outputs if i in later]

    def _on_the_way(self) -> list[Operator]:
        reached, found = set(self.graph.inputs), []
        for operator in self.graph.needed_for(self.graph.outputs):
            if reached & set(operator.inputs):
                reached |= set(operator.outputs)
                found.append(operator)
        return found

    def _on_xnnpack(self, part: bytes, inputs: Sequence[Array]) -> list[Array]:
        """Return what LiteRT makes of a cut on the CPU, as it is used everywhere."""
        with native_stderr_silenced(), refusals_reworded(self._delegation.choice):
            interpreter = open_interpreter(part, 1)
            for details, values in zip(interpreter.get_input_details(), inputs, strict=True):
                interpreter.set_tensor(details["index"], values)
            interpreter.invoke()
            return [np.array(interpreter.get_tensor(each["index"])) for each in interpreter.get_output_details()]

    def _compute_on_cpu(self, model: bytes) -> dict[int, Array]:
        """Return what the plain kernels make of every tensor on the way."""
        choice = self._delegation.choice
        with native_stderr_silenced(), refusals_reworded(choice):
            interpreter = import_interpreter(choice)(
                model_content=model,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            interpreter.allocate_tensors()
            for index, values in self._inputs.items():
                interpreter.set_tensor(index, values)
            interpreter.invoke()
            written = [i for operator in self.operators for i in operator.outputs if i >= 0]
            return {i: np.array(interpreter.get_tensor(i)) for i in written}


def _probe(graph: TfliteGraph, file: InspectedFile) -> tuple[str, dict[int, Array]]:
    """Return what to give to each input, and what that is: the probe of a card, or else noise of the input's dtype."""
    if file.artifact is not None and len(graph.inputs) == 1:
        card = file.artifact.card
        spec, image = card.preprocessing, IMAGE if card.probe is None else card.probe.image
        pixels = probe_pixels(spec.height, spec.width, spec.channels, image)
        return f"the probe ({image})", {graph.inputs[0]: encode(pixels, spec, card.input)[np.newaxis]}
    return f"noise ({IMAGE}; floats within -1..1)", {i: _noise(graph.shape(i), graph.dtype(i)) for i in graph.inputs}


def _noise(shape: tuple[int, ...], dtype: str) -> Array:
    """Return the bytes of the probe as a tensor; zeros for what is neither a float nor an integer of 8 bits."""
    values = probe_pixels(1, int(np.prod(shape)), 1).reshape(shape)
    if dtype.startswith("float"):
        return ((values.astype(np.float64) - 127.5) / 127.5).astype(dtype)
    return values.view(np.int8) if dtype == "int8" else values if dtype == "uint8" else np.zeros(shape, dtype)
