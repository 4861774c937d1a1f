"""Who computes in what: the operators of a graph, the weights they have, and where runs of float operators stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import Operator

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
SHAPE_READERS = ("SHAPE", "RANK")
"""They read no value of their input."""
FLOATS = ("float32", "float16", "bfloat16", "float64")
INTEGER_COMPUTE = ("int8", "uint8", "int16x8")
DYNAMIC, CONVERSION = "dynamic", "conversion"
COMPUTE_OF_WEIGHTED = {
    ("int8", "int8"): "int8",
    ("int8", "int4"): "int8",
    ("uint8", "uint8"): "uint8",
    ("int16", "int8"): "int16x8",
    ("int16", "int4"): "int16x8",
    ("float32", "int8"): DYNAMIC,
    ("float32", "int4"): DYNAMIC,
}
"""(activation, weights) -> what a convolution or dense operator computes in; what is not here is float."""


@dataclass(frozen=True)
class Weights:
    """The weights of a convolution or dense operator.

    Attributes:
        tensor: index of the tensor that is in the file, behind a DEQUANTIZE where there is one.
        dtype: as they are stored.
        granularity: "per-channel", "per-tensor", or None when they are not quantized.
        channels: how many output channels there are.
    """

    tensor: int
    dtype: str
    granularity: str | None
    channels: int


@dataclass(frozen=True)
class PlacedOperator:
    """An operator in its place.

    Attributes:
        operator: itself.
        name: of its kind; a custom operator's own.
        output: name of its first output, by which people find it.
        compute: "int8", "int16x8", "uint8", "float32", ...; "dynamic" where int8 weights meet float activations;
            "conversion" for QUANTIZE and DEQUANTIZE.
        weights: of a convolution or dense operator.
    """

    operator: Operator
    name: str
    output: str
    compute: str
    weights: Weights | None

    @property
    def is_integer(self) -> bool:
        """Whether it computes with quantized integers at both sides."""
        return self.compute in INTEGER_COMPUTE

    @property
    def is_float(self) -> bool:
        """Whether its activations are float, whatever its weights are."""
        return self.compute in FLOATS or self.compute == DYNAMIC

    def __str__(self) -> str:
        return f"{self.name} {self.output}"


@dataclass(frozen=True)
class FloatRun:
    """Float operators that hand each other their results, in a graph that also has integer ones.

    Attributes:
        role: "stem" before the first integers, "head" after the last, "island" between.
        steps: the operators.
        reads, writes: names of the tensors at its borders, as the integer side has them where there is a conversion.
    """

    role: str
    steps: tuple[PlacedOperator, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    @property
    def is_preparation(self) -> bool:
        """Whether it only moves a float input onto the steps of the integers, see `convert.quantization.io_tensors`."""
        return self.role == "stem" and [step.operator.name for step in self.steps] == ["ADD"]


class Census:
    """A graph with its operators classified."""

    def __init__(self, graph: TfliteGraph) -> None:
        self.graph = graph
        self.steps = [self._step(operator) for operator in graph.operators]

    def source(self, tensor: int) -> int:
        """The constant behind a tensor: itself, or what a DEQUANTIZE makes it from; else the tensor."""
        made_by = self.graph.producer(tensor)
        if made_by is not None and made_by.name == "DEQUANTIZE":
            stored = made_by.inputs[0]
            return stored if self.graph.is_constant(stored) else tensor
        return tensor

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor's values are in the file, or a DEQUANTIZE of such."""
        return self.graph.is_constant(self.source(tensor))

    def activations(self, step: PlacedOperator) -> list[int]:
        """The inputs of an operator that are computed at run time."""
        return [i for i in step.operator.inputs if i >= 0 and not self.is_constant(i)]

    def readers(self, tensor: int) -> list[PlacedOperator]:
        """The operators that read a tensor."""
        return [self.steps[operator.position] for operator in self.graph.consumers(tensor)]

    def maker(self, tensor: int) -> PlacedOperator | None:
        """The operator that computes a tensor; None for inputs of the graph and constants."""
        made_by = self.graph.producer(tensor)
        return None if made_by is None else self.steps[made_by.position]

    @cached_property
    def weighted(self) -> list[PlacedOperator]:
        """The convolutions and dense operators with constant weights."""
        return [step for step in self.steps if step.weights is not None]

    @cached_property
    def float_runs(self) -> list[FloatRun]:
        """Runs of float operators; none in a graph that has no integer operator."""
        if not any(step.is_integer for step in self.steps):
            return []
        runs, seen = [], set[int]()
        for step in self.steps:
            if step.is_float and step.operator.position not in seen:
                run = sorted(self._connected(step), key=lambda member: member.operator.position)
                seen |= {member.operator.position for member in run}
                runs.append(self._run(tuple(run)))
        return runs

    def _step(self, operator: Operator) -> PlacedOperator:
        weights = self._weights(operator)
        name = operator.custom or operator.name
        output = self.graph.tensor_name(operator.outputs[0]) if operator.outputs else ""
        return PlacedOperator(operator, name, output, self._compute(operator, weights), weights)

    def _weights(self, operator: Operator) -> Weights | None:
        if not operator.has_weights or not self.is_constant(operator.weights):
            return None
        tensor = self.source(operator.weights)
        scales, shape = self.graph.scales(tensor), self.graph.shape(tensor)
        channels = shape[operator.channel_axis]
        granularity = None if scales is None else "per-channel" if len(scales) == channels else "per-tensor"
        return Weights(tensor, self.graph.dtype(tensor), granularity, channels)

    def _compute(self, operator: Operator, weights: Weights | None) -> str:
        if operator.name in CONVERSIONS:
            return CONVERSION
        outputs = [self.graph.dtype(i) for i in operator.outputs]
        inputs = [self.graph.dtype(i) for i in operator.inputs if i >= 0 and not self.is_constant(i)]
        if weights is not None and inputs:
            used = self.graph.dtype(operator.weights)
            return COMPUTE_OF_WEIGHTED.get((inputs[0], used), outputs[0])
        read = [] if operator.name in SHAPE_READERS else inputs
        return next((dtype for dtype in (*outputs, *read) if dtype in FLOATS), outputs[0] if outputs else "none")

    def _neighbours(self, step: PlacedOperator) -> Iterator[PlacedOperator]:
        for tensor in self.activations(step):
            maker = self.maker(tensor)
            if maker is not None:
                yield maker
        for tensor in step.operator.outputs:
            yield from self.readers(tensor)

    def _connected(self, first: PlacedOperator) -> list[PlacedOperator]:
        found, waiting = {first.operator.position: first}, [first]
        while waiting:
            for step in self._neighbours(waiting.pop()):
                if step.is_float and step.operator.position not in found:
                    found[step.operator.position] = step
                    waiting.append(step)
        return list(found.values())

    def _run(self, steps: tuple[PlacedOperator, ...]) -> FloatRun:
        inside = {output for step in steps for output in step.operator.outputs}
        makers = {i: self.maker(i) for step in steps for i in self.activations(step) if i not in inside}
        readers = [reader for i in inside for reader in self.readers(i) if reader.compute == CONVERSION]
        from_integers = any(maker is not None and maker.compute == CONVERSION for maker in makers.values())
        into_integers = [reader for reader in readers if self._is_used(reader)]
        written = [i for reader in into_integers for i in reader.operator.outputs]
        written += [i for i in inside if i in self.graph.outputs]
        read = [i if maker is None or maker.compute != CONVERSION else maker.operator.inputs[0]
                for i, maker in makers.items()]  # fmt: skip
        role = ("island" if from_integers else "stem") if into_integers else "head"
        return FloatRun(role, steps, self._names(read), self._names(written))

    def _is_used(self, conversion: PlacedOperator) -> bool:
        """Whether something but the graph's end reads what a conversion makes."""
        return any(self.graph.consumers(i) for i in conversion.operator.outputs)

    def _names(self, tensors: list[int]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.graph.tensor_name(i) for i in tensors))


def plural(count: int, noun: str) -> str:
    """ "1 operator", "2 operators"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
