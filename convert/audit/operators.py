"""Operators by compute type: what each computes in, the weights it has, and where runs of float operators lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import CHANNEL_AXIS, Operator

UNPACKING = ("DENSIFY", "DEQUANTIZE", "TRANSPOSE")
"""Kinds that make of a constant what an operator can read."""
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "DENSIFY")
SHAPE_READERS = ("SHAPE", "RANK")
"""Kinds that read the shape of their input and none of its values."""
FLOATS = ("float32", "float16", "bfloat16", "float64")
PACKED = ("int8", "uint8", "int4", "int2")
"""Types of constants that a kernel may read beside float activations, and unpack itself."""
CHANNEL_AXIS_READ = {**CHANNEL_AXIS, "CONV_3D": 4, "CONV_3D_TRANSPOSE": 3}
"""Kinds whose weights are looked at; those of three dimensions, (depth, height, width, in, out), are not quantized."""
RECURRENT = (
    "LSTM",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "RNN",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "SVDF",
)
INTEGERS = ("int8", "uint8", "int16")
"""Types of quantized activations."""
INTEGER_COMPUTE = ("int8", "uint8", "int16x8")
DYNAMIC, CONVERSION, LOOKUP, RAW = "dynamic", "conversion", "lookup", "raw"
COMPUTE_OF_WEIGHTED = {
    ("int8", "int8"): "int8",
    ("int8", "int4"): "int8",
    ("uint8", "uint8"): "uint8",
    ("int16", "int8"): "int16x8",
    ("int16", "int4"): "int16x8",
    ("float32", "int8"): DYNAMIC,
    ("float32", "int4"): DYNAMIC,
}
"""(activation, weights) -> what a convolution or dense operator computes in; any other pair computes in float."""


@dataclass(frozen=True)
class StoredWeights:
    """The weights of a convolution or dense operator, as they are in the file.

    Attributes:
        tensor: the constant, which the `UNPACKING` kinds may separate from the operator.
        axis: along which the output channels lie.
        granularity: "per-channel", "per-tensor", or None when the weights are not quantized.
    """

    tensor: int
    axis: int
    dtype: str
    granularity: str | None
    channels: int


@dataclass(frozen=True)
class ClassifiedOperator(Operator):
    """An operator with its compute type.

    Attributes:
        output: name of its first output, which identifies it to users.
        compute: "int8", "int16x8", "uint8", "float32", ...; "dynamic" where integer weights meet float activations;
            "conversion" for QUANTIZE, DEQUANTIZE and DENSIFY, "lookup" for what takes entries of a quantized constant,
            "raw" for integers without a scale, such as pixels.
        stored_weights: of a convolution or dense operator with constant weights, else None.
    """

    output: str
    compute: str
    stored_weights: StoredWeights | None

    @property
    def label(self) -> str:
        """Return the kind for users: a custom operator's own name instead of "CUSTOM"."""
        return self.custom or self.name

    @property
    def is_integer(self) -> bool:
        """Return whether the operator reads and writes quantized integers."""
        return self.compute in INTEGER_COMPUTE

    @property
    def is_float(self) -> bool:
        """Return whether the activations are float, whatever the weights are."""
        return self.compute in FLOATS or self.compute == DYNAMIC

    def __str__(self) -> str:
        return f"{self.label} {self.output}"


@dataclass(frozen=True)
class FloatRun:
    """Connected float operators in a graph that also has integer operators.

    Attributes:
        role: "stem" before the first integers, "head" after the last, "island" between.
        operators: in execution order.
        reads, writes: names of the tensors at its borders, on the integer side of a conversion.
    """

    role: str
    operators: tuple[ClassifiedOperator, ...]
    reads: list[str]
    writes: list[str]

    @property
    def is_preparation(self) -> bool:
        """Return whether the run only shifts a float input onto the int8 grid: `convert.quantization.io_tensors`."""
        return self.role == "stem" and [operator.name for operator in self.operators] == ["ADD"]


class ClassifiedGraph:
    """A graph with its operators classified by compute type."""

    def __init__(self, graph: TfliteGraph) -> None:
        self.tflite = graph
        self.operators = [self._classified(operator) for operator in graph.operators]

    def source(self, tensor: int) -> int:
        """Return the constant that the `UNPACKING` kinds make a tensor from; the tensor itself when there is none."""
        found = tensor
        for _ in UNPACKING:
            producer = self.tflite.producer(found)
            if producer is not None and producer.name in UNPACKING and producer.inputs:
                found = producer.inputs[0]
        return found if self.tflite.is_constant(found) else tensor

    def is_constant(self, tensor: int) -> bool:
        """Return whether a tensor is a constant of the file, or unpacked from one."""
        return self.tflite.is_constant(self.source(tensor))

    def activations(self, operator: Operator) -> list[int]:
        """Return the inputs of an operator that are computed at run time."""
        return [i for i in operator.inputs if i >= 0 and not self.is_constant(i)]

    def consumers(self, tensor: int) -> list[ClassifiedOperator]:
        """Return the operators that read a tensor."""
        return [self.operators[consumer.position] for consumer in self.tflite.consumers(tensor)]

    def producer(self, tensor: int) -> ClassifiedOperator | None:
        """Return the operator that computes a tensor; None for an input of the graph or a constant."""
        producer = self.tflite.producer(tensor)
        return None if producer is None else self.operators[producer.position]

    @cached_property
    def weighted(self) -> list[tuple[ClassifiedOperator, StoredWeights]]:
        """Return the convolutions and dense operators with constant weights, and those weights."""
        return [(op, op.stored_weights) for op in self.operators if op.stored_weights is not None]

    def unpacked(self, operator: Operator) -> list[int]:
        """Return the constants that an operator reads and does not unpack itself."""
        return [self.source(i) for i in operator.inputs if i >= 0 and self.source(i) != i]

    @cached_property
    def float_runs(self) -> list[FloatRun]:
        """Return the runs of float operators; none in a graph without any integer operator."""
        if not any(operator.is_integer for operator in self.operators):
            return []
        runs, seen = [], set[int]()
        for operator in self.operators:
            if operator.is_float and operator.position not in seen:
                run = self._connected(operator.position)
                seen |= run
                runs.append(self._run(tuple(self.operators[position] for position in sorted(run))))
        return runs

    def _classified(self, operator: Operator) -> ClassifiedOperator:
        weights = self._stored_weights(operator)
        output = self.tflite.tensor_name(operator.outputs[0]) if operator.outputs else ""
        compute = self._compute(operator, weights)
        return ClassifiedOperator(**vars(operator), output=output, compute=compute, stored_weights=weights)

    def _stored_weights(self, operator: Operator) -> StoredWeights | None:
        axis = CHANNEL_AXIS_READ.get(operator.name)
        if axis is None or len(operator.inputs) < 2 or not self.is_constant(operator.inputs[1]):
            return None
        tensor = self.source(operator.inputs[1])
        scales, shape = self.tflite.scales(tensor), self.tflite.shape(operator.inputs[1])
        if axis >= len(shape):
            return None
        granularity = None if scales is None else "per-channel" if len(scales) == shape[axis] else "per-tensor"
        return StoredWeights(tensor, axis, self.tflite.dtype(tensor), granularity, shape[axis])

    def _compute(self, operator: Operator, weights: StoredWeights | None) -> str:
        if operator.name in CONVERSIONS:
            return CONVERSION
        outputs = [self.tflite.dtype(i) for i in operator.outputs]
        inputs = [self.tflite.dtype(i) for i in self.activations(operator)]
        if weights is not None and inputs and outputs:
            return COMPUTE_OF_WEIGHTED.get((inputs[0], self.tflite.dtype(operator.inputs[1])), outputs[0])
        if self._reads_quantized_constants_alone(operator, inputs):
            return DYNAMIC if any(dtype in FLOATS for dtype in outputs) else LOOKUP
        if operator.name in RECURRENT and outputs and outputs[0] == "int16":
            return "int16x8"
        read = [] if operator.name in SHAPE_READERS else inputs
        floats = [dtype for dtype in (*outputs, *read) if dtype in FLOATS]
        if floats or not outputs:
            return floats[0] if floats else "none"
        return RAW if outputs[0] in INTEGERS and self.tflite.scales(operator.outputs[0]) is None else outputs[0]

    def _reads_quantized_constants_alone(self, operator: Operator, inputs: list[str]) -> bool:
        """Return whether an operator reads quantized constants, and no quantized activation: of an LSTM, a lookup."""
        constants = [i for i in operator.inputs if self.tflite.is_constant(i) and self.tflite.dtype(i) in PACKED]
        is_quantized = any(self.tflite.scales(i) is not None for i in constants)
        return is_quantized and not any(dtype in INTEGERS for dtype in inputs)

    def _connected(self, first: int) -> set[int]:
        """Return the positions of the float operators connected with the one at a position, itself included."""
        found, waiting = {first}, [self.operators[first]]
        while waiting:
            operator = waiting.pop()
            neighbours = [self.producer(tensor) for tensor in self.activations(operator)]
            neighbours += [consumer for tensor in operator.outputs for consumer in self.consumers(tensor)]
            new = [other for other in neighbours if other and other.is_float and other.position not in found]
            found |= {other.position for other in new}
            waiting += new
        return found

    def _run(self, operators: tuple[ClassifiedOperator, ...]) -> FloatRun:
        inside = {output for operator in operators for output in operator.outputs}
        entering = [i for operator in operators for i in self.activations(operator) if i not in inside]
        leaving = [op for i in inside for op in self.consumers(i) if op.compute == CONVERSION]
        quantize = [op for op in leaving if any(map(self.consumers, op.outputs))]  # not for an output of the graph
        written = [i for operator in quantize for i in operator.outputs]
        written += [i for i in inside if i in self.tflite.outputs]
        read = [self._before_conversion(i) for i in entering]
        role = "head" if not quantize else "stem" if read == entering else "island"
        return FloatRun(role, operators, self._names(read), self._names(written))

    def _before_conversion(self, tensor: int) -> int:
        """Return the integer tensor that a conversion makes a tensor from; the tensor itself when there is none."""
        producer = self.producer(tensor)
        return tensor if producer is None or producer.compute != CONVERSION else producer.inputs[0]

    def _names(self, tensors: list[int]) -> list[str]:
        return list(dict.fromkeys(self.tflite.tensor_name(i) for i in tensors))
