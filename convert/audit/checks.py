"""What can be wrong with a quantized graph, and what to do about it: `CHECKS` lists all that is looked for.

real = scale * (q - zero_point): the checks of numbers ask whether that equation can hold (TensorFlow Lite 8-bit
quantization specification: int8 weights are symmetric, their zero point is 0; so is that of int16 activations).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from convert.audit.operators import ClassifiedGraph, ClassifiedOperator, StoredWeights
from convert.tflite.operators import DENSE
from convert.tflite.schema import SUB_BYTE_BITS
from edge_runtime.arrays import Array
from edge_runtime.custom_operators import COMPILED

ERROR, WARNING, NOTE = "error", "warning", "note"
"""The numbers cannot be right; accuracy, speed or portability is lost; worth knowing."""
SEVERITIES = (ERROR, WARNING, NOTE)
HUGE_SCALE = 1e4
"""An int8 tensor of this scale spans two and a half million: no activation or weight of a sound network does."""
HARDLY_USED = 0.5
"""Fraction of the largest integer: the weights of a channel that stay below it waste a bit."""
LARGE_BIAS = 2.0**29
"""A bias that a smaller scale of weights would take out of what converters allow, half of int32."""
LIMITS = {f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (2, 4, 8, 16, 32, 64)}
LIMITS |= {f"uint{bits}": (0, 2**bits - 1) for bits in (4, 8)}
SYMMETRIC = ("int2", "int4", "int16", "int32", "int64")
BIAS_DTYPES = ("int32", "int64")
ARITHMETIC = ("MUL", "DIV", "ADD", "SUB")


@dataclass(frozen=True)
class Finding:
    """What a check found in a graph; `what` begins with a count, `where` names all tensors or operators concerned."""

    check: str
    severity: str
    what: str
    remedy: str
    where: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """A check for one defect, see `Finding`: `find` names the tensors or operators that have it.

    {} in `what` is the count of `noun`s.
    """

    find: Callable[[ClassifiedGraph], Iterable[str]]
    name: str
    severity: str
    what: str
    noun: str = "tensor"

    def __call__(self, graph: ClassifiedGraph) -> Iterator[Finding]:
        """Yield one finding if the graph has the defect anywhere."""
        where = tuple(self.find(graph))
        if where:
            what = self.what.format(plural(len(where), self.noun))
            yield Finding(self.name, self.severity, what, REMEDIES[self.name], where)


def plural(count: int, noun: str) -> str:
    """Return "1 operator", "2 operators", ..."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def scales_invalid(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield tensors with a scale that is zero, negative, too small for a normal float32, infinite or NaN."""
    smallest = np.finfo(np.float32).tiny
    return (name for name, scales in _scaled(graph) if not np.all(np.isfinite(scales) & (scales >= smallest)))


def scales_huge(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield tensors with a scale that no sound network needs."""
    return (name for name, scales in _scaled(graph) if np.any(np.isfinite(scales) & (scales > HUGE_SCALE)))


def scale_counts_wrong(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield tensors with several scales, but not one for each channel."""
    for index in graph.tflite.tensors:
        scales, shape = graph.tflite.scales(index), graph.tflite.shape(index)
        if scales is not None and len(scales) > 1:
            axis = graph.tflite.quantized_dimension(index)
            if axis >= len(shape) or shape[axis] != len(scales):
                yield graph.tflite.tensor_name(index)


def zero_points_invalid(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield tensors with a zero point outside their dtype, or other than 0 where the kernels assume 0."""
    weights = {weights.tensor for _, weights in graph.weighted if weights.dtype == "int8"}
    for index in graph.tflite.tensors:
        zero_points, dtype = graph.tflite.zero_points(index), graph.tflite.dtype(index)
        if zero_points is None or dtype not in LIMITS:
            continue
        low, high = (0, 0) if dtype in SYMMETRIC or index in weights else LIMITS[dtype]
        if np.any((zero_points < low) | (zero_points > high)):
            yield graph.tflite.tensor_name(index)


def weights_per_tensor(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield operators whose weights have one scale for all their channels."""
    return (str(operator) for operator, weights in graph.weighted if weights.granularity == "per-tensor")


def weights_hardly_used(graph: ClassifiedGraph) -> Iterator[Finding]:
    """Find channels of quantized weights whose largest magnitude leaves half of the integers unused."""
    where = {}
    for operator, weights in graph.weighted:
        used = _range_use(graph, weights)
        wasted = (used > 0) & (used < HARDLY_USED)
        low = int(np.sum(wasted & ~_bias_is_large(graph, operator))) if np.any(wasted) else 0
        where[f"{operator}: {low} of {len(used)} channels, {used[used > 0].min(initial=1):.0%} at least"] = low
    yield from _of_channels("weights-hardly-used", WARNING, "whose weights use less than half of their range", where)


def weights_zero(graph: ClassifiedGraph) -> Iterator[Finding]:
    """Find channels whose weights are all zero."""
    zeros = [(op, int(np.sum(_range_use(graph, weights) == 0))) for op, weights in graph.weighted]
    where = {f"{operator}: {plural(count, 'channel')}": count for operator, count in zeros}
    yield from _of_channels("weights-zero", NOTE, "whose weights are all zero", where)


def _of_channels(check: str, severity: str, what: str, where: dict[str, int]) -> Iterator[Finding]:
    """Yield a finding about channels, given how many of them there are in each place."""
    places = tuple(place for place, count in where.items() if count)
    if places:
        count = f"{plural(sum(where.values()), 'channel')} in {plural(len(places), 'operator')}"
        yield Finding(check, severity, f"{count} {what}", REMEDIES[check], places)


def biases_saturated(graph: ClassifiedGraph) -> Iterator[Finding]:
    """Find channels whose integer bias is the largest or smallest that 32 bits hold: it was cut off there.

    Converters do so where weights are tiny beside their bias, also before they store it in 64 bits.
    """
    tensors, where = graph.tflite, dict[str, int]()
    for operator, _ in graph.weighted:
        bias = operator.bias if operator.has_weights else None
        if bias is not None and tensors.is_constant(bias) and tensors.dtype(bias) in BIAS_DTYPES:
            cut = int(np.sum(np.isin(tensors.constant(bias), LIMITS["int32"])))
            where[f"{operator}: {plural(cut, 'channel')}"] = cut
    yield from _of_channels("bias-saturated", WARNING, "whose bias does not fit and was cut off at 32 bits", where)


def float_islands(graph: ClassifiedGraph) -> Iterator[Finding]:
    """Find float operators between integer operators, or before the first of them."""
    for role in ("island", "stem"):
        runs = [run for run in graph.float_runs if run.role == role and not run.is_preparation]
        members = [operator for run in runs for operator in run.operators]
        kinds = ", ".join(dict.fromkeys(operator.label for operator in members))
        if runs:
            count = f"{plural(len(runs), f'float {role}')} of {plural(len(members), 'operator')}"
            what = f"{count} ({kinds}) before or between integers"
            where = tuple(f"{', '.join(run.reads) or 'constants'} -> {', '.join(run.writes)}" for run in runs)
            yield Finding(f"float-{role}", WARNING, what, REMEDIES[f"float-{role}"], where)


def round_trips(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield pairs of a DEQUANTIZE and the QUANTIZE that follows: two operators and a rounding for nothing."""
    for operator in graph.operators:
        if operator.name == "QUANTIZE" and not graph.is_constant(operator.inputs[0]):
            before = graph.producer(operator.inputs[0])
            if before is not None and before.name == "DEQUANTIZE":
                yield f"{before.output} -> {operator.output}"


def requantizations(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield every QUANTIZE inside the graph that reads and writes integers of the same type."""
    tensors = graph.tflite
    for operator in graph.operators:
        if operator.name == "QUANTIZE" and graph.producer(operator.inputs[0]) is not None:
            before, after = operator.inputs[0], operator.outputs[0]
            if tensors.dtype(before) == tensors.dtype(after):
                yield f"{tensors.tensor_name(before)} -> {operator.output}"


def constants_unfolded(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield arithmetic with a constant that a convolution or dense operator beside it could have absorbed."""
    return (str(op) for op in graph.operators if _folds_back(graph, op) or _folds_forward(graph, op))


def shapes_dynamic(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield tensors whose shape is known only at run time."""
    return (graph.tflite.tensor_name(i) for i in graph.tflite.tensors if -1 in graph.tflite.shape_signature(i))


def operators_custom(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield operators that are not built into the runtime, and that no vendor's compiler is known to make."""
    return (str(each) for each in graph.operators if each.name == "CUSTOM" and each.custom not in COMPILED)


def operators_compiled(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield operators that a vendor's compiler made, with the hardware that computes them."""
    compiled = (operator for operator in graph.operators if operator.custom in COMPILED)
    return (f"{operator} for {(made := COMPILED[operator.custom]).name}: {made.advice}" for operator in compiled)


def types_narrow(graph: ClassifiedGraph) -> Iterator[str]:
    """Yield tensors of less than a byte per element."""
    return (graph.tflite.tensor_name(i) for i in graph.tflite.tensors if graph.tflite.dtype(i) in SUB_BYTE_BITS)


CHECKS: tuple[Callable[[ClassifiedGraph], Iterable[Finding]], ...] = (
    Check(scales_invalid, "scale-invalid", ERROR, "{} with a scale that is zero, negative or not finite"),
    Check(scales_huge, "scale-huge", ERROR, f"{{}} with a scale over {HUGE_SCALE:g}"),
    Check(scale_counts_wrong, "scale-count", ERROR, "{} whose scales are neither one nor one a channel"),
    Check(zero_points_invalid, "zero-point-invalid", ERROR, "{} with a zero point that their type cannot have"),
    biases_saturated,
    Check(operators_custom, "operator-custom", WARNING, "{} that the runtime does not have", "custom operator"),
    Check(operators_compiled, "operator-compiled", NOTE, "{} that the CPU cannot compute", "compiled operator"),
    float_islands,
    Check(weights_per_tensor, "weights-per-tensor", WARNING, "{} with one scale for all channels of their weights"),
    weights_hardly_used,
    Check(
        constants_unfolded,
        "constant-unfolded",
        WARNING,
        "{} with a constant beside a convolution or dense operator",
        "arithmetic operator",
    ),
    Check(round_trips, "round-trip", WARNING, "{} of DEQUANTIZE and QUANTIZE with nothing between", "pair"),
    Check(shapes_dynamic, "shape-dynamic", WARNING, "{} of a shape known only at run time"),
    Check(requantizations, "requantization", NOTE, "{} from one scale to another", "requantization"),
    weights_zero,
    Check(types_narrow, "type-narrow", NOTE, "{} of fewer than 8 bits"),
)

REMEDIES = {
    "scale-invalid": "calibrate with images that make every layer answer, and quantize again",
    "scale-huge": "look for an activation that explodes on the calibration images, or a constant that stands for "
    "infinity",
    "scale-count": "quantize again",
    "zero-point-invalid": "quantize again",
    "bias-saturated": "give these channels a larger scale of weights, under which their bias fits, as irv2-convert "
    "and TensorFlow's converter do",
    "operator-custom": "pass --delegate with the library that computes them, or convert with built-in operators alone; "
    "Flex operators need TensorFlow on the device",
    "operator-compiled": "run it on its hardware; irv2-convert attach gives it the card of what it was compiled from",
    "float-island": "quantize them, or replace what has no integer kernel",
    "float-stem": "quantize them, or replace what has no integer kernel",
    "weights-per-tensor": "quantize per channel: channels with small weights lose bits",
    "weights-hardly-used": "quantize per channel with scales from the weights' own maximum",
    "constant-unfolded": "fold them into its weights and bias before quantizing",
    "round-trip": "quantize with one scale on both sides, or let one QUANTIZE requantize",
    "shape-dynamic": "export with a static batch of 1: GPU and NPU delegates refuse the others",
    "requantization": "give what is concatenated or added one scale",
    "weights-zero": "fine where the float network's are zero, too, as after pruning; else the scale was far too large",
    "type-narrow": "measure on the device: many kernels unpack them first, or are missing",
}
"""Check -> what to do about what it finds."""


def _scaled(graph: ClassifiedGraph) -> Iterator[tuple[str, Array]]:
    """Yield name and scales of each quantized tensor."""
    for index in graph.tflite.tensors:
        scales = graph.tflite.scales(index)
        if scales is not None:
            yield graph.tflite.tensor_name(index), scales


def _range_use(graph: ClassifiedGraph, weights: StoredWeights) -> Array:
    """Return the largest magnitude of each output channel's weights, as a fraction of the largest integer."""
    shape = graph.tflite.shape(weights.tensor)
    if weights.granularity is None or weights.dtype not in ("int8", "int4") or weights.axis >= len(shape):
        return np.empty(0)
    values = graph.tflite.constant(weights.tensor)
    others = tuple(i for i in range(values.ndim) if i != weights.axis)
    peaks = np.maximum(values.max(axis=others).astype(np.int16), -values.min(axis=others).astype(np.int16))
    return np.asarray(np.minimum(peaks / LIMITS[weights.dtype][1], 1.0))


def _bias_is_large(graph: ClassifiedGraph, operator: ClassifiedOperator) -> Array:
    """Return, for each channel or for all, whether its scale is that large because of its bias, not of its weights."""
    bias = operator.bias if operator.has_weights else None
    if bias is None or not graph.tflite.is_constant(bias) or graph.tflite.dtype(bias) not in BIAS_DTYPES:
        return np.array(False)
    return np.asarray(np.abs(graph.tflite.constant(bias).astype(np.float64)) >= LARGE_BIAS)


def _has_constant(graph: ClassifiedGraph, operator: ClassifiedOperator) -> bool:
    """Return whether an operator multiplies by, or adds, a constant of one number or of one number per channel."""
    constants = [i for i in operator.inputs if i >= 0 and graph.is_constant(i)]
    if operator.name not in ARITHMETIC or len(constants) != 1 or len(operator.inputs) != 2:
        return False
    if operator.name == "DIV" and constants[0] == operator.inputs[0]:
        return False
    shape = graph.tflite.shape(graph.source(constants[0]))
    return all(n == 1 for n in shape[:-1])


def _folds_back(graph: ClassifiedGraph, operator: ClassifiedOperator) -> bool:
    """Return whether the operator before can absorb the constant: nothing else reads it, and it fuses no activation."""
    if not _has_constant(graph, operator):
        return False
    before = graph.producer(graph.activations(operator)[0])
    if before is None or len(graph.consumers(before.outputs[0])) != 1:
        return False
    return before.fused_activation == "NONE" and (before.stored_weights is not None or _folds_back(graph, before))


def _folds_forward(graph: ClassifiedGraph, operator: ClassifiedOperator, sums: bool = False) -> bool:
    """Return whether all operators after can absorb the constant; where a sum is involved, none of them may pad."""
    if not _has_constant(graph, operator) or operator.fused_activation != "NONE":
        return False
    consumers = graph.consumers(operator.outputs[0])
    sums = sums or operator.name in ("ADD", "SUB")
    return bool(consumers) and all(
        not (sums and _pads(consumer)) if consumer.stored_weights else _folds_forward(graph, consumer, sums)
        for consumer in consumers
    )


def _pads(operator: ClassifiedOperator) -> bool:
    return operator.name != DENSE and (operator.options is None or not operator.is_unpadded)
