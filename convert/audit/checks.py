"""What is wrong with a quantized graph, and what to do about it: one check a function, listed in `CHECKS`.

real = scale * (q - zero_point): the checks of numbers ask whether that equation can hold (TensorFlow Lite 8-bit
quantization specification: int8 weights are symmetric, their zero point is 0; so is that of int16 activations).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from convert.audit.operators import Census, PlacedOperator, plural
from convert.tflite.operators import DENSE
from edge_runtime.arrays import Array

ERROR, WARNING, NOTE = "error", "warning", "note"
"""The numbers cannot be right; accuracy, speed or portability is lost; worth knowing."""
SEVERITIES = (ERROR, WARNING, NOTE)
HUGE_SCALE = 1e4
"""An int8 tensor of this scale spans two and a half million: no activation or weight of a sound network does."""
HARDLY_USED = 0.5
"""Of the largest value an integer can hold: a channel that stays below lost a bit."""
LIMITS = {
    "int2": (-2, 1),
    "int4": (-8, 7),
    "uint4": (0, 15),
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
}
SYMMETRIC = ("int2", "int4", "int16", "int32", "int64")
NARROW = ("int4", "uint4", "int2")
FOLDABLE = ("MUL", "DIV", "ADD", "SUB")


@dataclass(frozen=True)
class Finding:
    """Something to know about a graph.

    Attributes:
        check: what found it, a stable name.
        severity: "error", "warning" or "note".
        what: for people; begins with how many.
        remedy: what to do about it.
        where: names of the tensors or operators, all of them.
    """

    check: str
    severity: str
    what: str
    remedy: str
    where: tuple[str, ...]


def find_all(census: Census) -> list[Finding]:
    """Everything that the checks find, errors first."""
    found = [finding for check in CHECKS for finding in check(census)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def scales_invalid(census: Census) -> Iterator[Finding]:
    """Scales that are zero, negative, too small for a normal float32, infinite or NaN."""
    smallest = np.finfo(np.float32).tiny
    bad = [name for name, scales in _scaled(census) if not np.all(np.isfinite(scales) & (scales >= smallest))]
    yield from _if_any(
        bad, "scale-invalid", ERROR, "{} with a scale that is zero, negative or not finite",
        "calibrate with images that make every layer answer, and quantize again",
    )  # fmt: skip


def scales_huge(census: Census) -> Iterator[Finding]:
    """Scales that no sound network needs."""
    bad = [name for name, scales in _scaled(census) if np.any(np.isfinite(scales) & (scales > HUGE_SCALE))]
    yield from _if_any(
        bad, "scale-huge", ERROR, f"{{}} with a scale over {HUGE_SCALE:g}",
        "look for an activation that explodes on the calibration images, or a constant that stands for infinity",
    )  # fmt: skip


def scale_count(census: Census) -> Iterator[Finding]:
    """Tensors with several scales, but not one for each channel."""
    graph, bad = census.graph, []
    for index in range(graph.tensor_count()):
        scales, shape = graph.scales(index), graph.shape(index)
        if scales is not None and len(scales) > 1:
            axis = graph.quantized_dimension(index)
            if axis >= len(shape) or shape[axis] != len(scales):
                bad.append(graph.tensor_name(index))
    yield from _if_any(bad, "scale-count", ERROR, "{} whose scales are neither one nor one a channel", "quantize again")


def zero_points_invalid(census: Census) -> Iterator[Finding]:
    """Zero points outside their dtype, and other than 0 where the kernels take them for 0."""
    graph, bad = census.graph, []
    weights = {step.weights.tensor for step in census.weighted if step.weights and step.weights.dtype == "int8"}
    for index in range(graph.tensor_count()):
        zero_points, dtype = graph.zero_points(index), graph.dtype(index)
        if zero_points is None or dtype not in LIMITS:
            continue
        low, high = (0, 0) if dtype in SYMMETRIC or index in weights else LIMITS[dtype]
        if np.any((zero_points < low) | (zero_points > high)):
            bad.append(graph.tensor_name(index))
    yield from _if_any(
        bad, "zero-point-invalid", ERROR, "{} with a zero point that their type cannot have", "quantize again"
    )


def weights_per_tensor(census: Census) -> Iterator[Finding]:
    """Weights with one scale for all their channels."""
    bad = [str(step) for step in census.weighted if step.weights and step.weights.granularity == "per-tensor"]
    yield from _if_any(
        bad, "weights-per-tensor", WARNING, "{} with one scale for all channels of their weights",
        "quantize per channel: channels with small weights lose bits",
    )  # fmt: skip


def weights_hardly_used(census: Census) -> Iterator[Finding]:
    """Channels of quantized weights whose largest magnitude leaves half of the integers unused."""
    bad, channels = list[str](), 0
    for step in census.weighted:
        used = _range_use(census, step)
        low = int(np.sum((used > 0) & (used < HARDLY_USED)))
        channels += low
        if low:
            bad.append(f"{step}: {low} of {len(used)} channels, {used[used > 0].min():.0%} at least")
    what = f"{{}} in {plural(len(bad), 'operator')} whose weights use less than half of their range"
    remedy = "quantize per channel with scales from the weights' own maximum"
    yield from _if_any(bad, "weights-hardly-used", WARNING, what.format(plural(channels, "channel")), remedy)


def weights_zero(census: Census) -> Iterator[Finding]:
    """Channels whose weights are all zero."""
    dead = {str(step): int(np.sum(_range_use(census, step) == 0)) for step in census.weighted}
    bad = [f"{name}: {plural(count, 'channel')}" for name, count in dead.items() if count]
    what = f"{plural(sum(dead.values()), 'channel')} in {plural(len(bad), 'operator')} with no weight but zero"
    remedy = "expected in a pruned network; otherwise the scale was far too large"
    yield from _if_any(bad, "weights-zero", NOTE, what, remedy)


def float_islands(census: Census) -> Iterator[Finding]:
    """Float operators that integers go into and come out of, or that stand before the first integers."""
    for role in ("island", "stem"):
        runs = [run for run in census.float_runs if run.role == role and not run.is_preparation]
        names = dict.fromkeys(step.name for run in runs for step in run.steps)
        operators = plural(sum(len(run.steps) for run in runs), "operator")
        if runs:
            yield Finding(
                f"float-{role}",
                WARNING,
                f"{plural(len(runs), f'float {role}')} of {operators} ({', '.join(names)}) before or between integers",
                "quantize them, or replace what has no integer kernel",
                tuple(f"{', '.join(run.reads) or 'constants'} -> {', '.join(run.writes)}" for run in runs),
            )


def round_trips(census: Census) -> Iterator[Finding]:
    """A DEQUANTIZE that a QUANTIZE follows: two operators, and a rounding, that do nothing else."""
    bad = []
    for step in census.steps:
        if step.operator.name == "QUANTIZE":
            before = census.maker(step.operator.inputs[0])
            if before is not None and before.operator.name == "DEQUANTIZE" and not census.is_constant(
                step.operator.inputs[0]
            ):  # fmt: skip
                bad.append(f"{before.output} -> {step.output}")
    yield from _if_any(
        bad, "round-trip", WARNING, "{} of DEQUANTIZE and QUANTIZE with nothing between",
        "quantize with one scale on both sides, or let one QUANTIZE requantize", "pair",
    )  # fmt: skip


def requantizations(census: Census) -> Iterator[Finding]:
    """A QUANTIZE from integers to integers of the same type, inside the graph."""
    graph, bad = census.graph, []
    for step in census.steps:
        before, after = (ends[0] for ends in (step.operator.inputs, step.operator.outputs))
        same = step.operator.name == "QUANTIZE" and graph.dtype(before) == graph.dtype(after)
        if same and census.maker(before) is not None:
            bad.append(f"{graph.tensor_name(before)} -> {step.output}")
    yield from _if_any(
        bad, "requantization", NOTE, "{} from one scale to another", "give what is concatenated or added one scale",
    "requantization")  # fmt: skip


def unfolded_constants(census: Census) -> Iterator[Finding]:
    """Multiplications and additions of a constant that a convolution or dense operator beside them could have done."""
    bad = [str(step) for step in census.steps if _folds_back(census, step) or _folds_forward(census, step)]
    yield from _if_any(
        bad, "constant-unfolded", WARNING, "{} with a constant beside a convolution or dense operator",
        "fold them into its weights and bias before quantizing", "arithmetic operator",
    )  # fmt: skip


def dynamic_shapes(census: Census) -> Iterator[Finding]:
    """Tensors whose shape is known only at run time."""
    graph = census.graph
    bad = [graph.tensor_name(i) for i in range(graph.tensor_count()) if -1 in graph.shape_signature(i)]
    yield from _if_any(
        bad, "shape-dynamic", WARNING, "{} of a shape known only at run time",
        "export with a static batch of 1: GPU and NPU delegates refuse the others",
    )  # fmt: skip


def custom_operators(census: Census) -> Iterator[Finding]:
    """Operators that are not in the runtime."""
    bad = [str(step) for step in census.steps if step.operator.name == "CUSTOM"]
    yield from _if_any(
        bad, "operator-custom", WARNING, "{} that the runtime does not have",
        "convert with built-in operators alone; Flex operators need TensorFlow on the device", "custom operator",
    )  # fmt: skip


def narrow_tensors(census: Census) -> Iterator[Finding]:
    """Tensors of less than a byte."""
    graph = census.graph
    bad = [graph.tensor_name(i) for i in range(graph.tensor_count()) if graph.dtype(i) in NARROW]
    yield from _if_any(
        bad, "type-narrow", NOTE, "{} of fewer than 8 bits",
        "measure on the device: many kernels unpack them first, or are missing",
    )  # fmt: skip


CHECKS: tuple[Callable[[Census], Iterable[Finding]], ...] = (
    scales_invalid,
    scales_huge,
    scale_count,
    zero_points_invalid,
    custom_operators,
    float_islands,
    weights_per_tensor,
    weights_hardly_used,
    unfolded_constants,
    round_trips,
    dynamic_shapes,
    requantizations,
    weights_zero,
    narrow_tensors,
)


def _if_any(
    where: list[str], check: str, severity: str, what: str, remedy: str, noun: str = "tensor"
) -> Iterator[Finding]:
    if where:
        yield Finding(check, severity, what.format(plural(len(where), noun)), remedy, tuple(where))


def _scaled(census: Census) -> Iterator[tuple[str, Array]]:
    """Name and scales of each quantized tensor."""
    for index in range(census.graph.tensor_count()):
        scales = census.graph.scales(index)
        if scales is not None:
            yield census.graph.tensor_name(index), scales


def _range_use(census: Census, step: PlacedOperator) -> Array:
    """For each output channel the largest magnitude of its weights, as a share of what their integers hold."""
    weights = step.weights
    if weights is None or weights.granularity is None or weights.dtype not in ("int8", "int4"):
        return np.empty(0)
    values = census.graph.constant(weights.tensor)
    others = tuple(i for i in range(values.ndim) if i != step.operator.channel_axis)
    peaks = np.maximum(values.max(axis=others).astype(np.int16), -values.min(axis=others).astype(np.int16))
    return np.asarray(np.minimum(peaks / LIMITS[weights.dtype][1], 1.0))


def _by_constant(census: Census, step: PlacedOperator) -> bool:
    """Whether an operator multiplies or adds a constant, one number or one a channel."""
    constants = [i for i in step.operator.inputs if i >= 0 and census.is_constant(i)]
    if step.operator.name not in FOLDABLE or len(constants) != 1 or len(step.operator.inputs) != 2:
        return False
    if step.operator.name == "DIV" and constants[0] == step.operator.inputs[0]:
        return False
    shape = census.graph.shape(census.source(constants[0]))
    return all(n == 1 for n in shape[:-1])


def _folds_back(census: Census, step: PlacedOperator) -> bool:
    """Whether the operator before could have done it: it is read here alone, and nothing is fused after it."""
    if not _by_constant(census, step):
        return False
    before = census.maker(census.activations(step)[0])
    if before is None or len(census.readers(before.operator.outputs[0])) != 1:
        return False
    return _fuses_nothing(before) and (before.weights is not None or _folds_back(census, before))


def _folds_forward(census: Census, step: PlacedOperator, sums: bool = False) -> bool:
    """Whether all operators after could have done it; a sum, here or before, only where none of them pads."""
    if not _by_constant(census, step) or not _fuses_nothing(step):
        return False
    readers = census.readers(step.operator.outputs[0])
    sums = sums or step.operator.name in ("ADD", "SUB")
    return bool(readers) and all(
        not (sums and _pads(reader)) if reader.weights else _folds_forward(census, reader, sums) for reader in readers
    )


def _fuses_nothing(step: PlacedOperator) -> bool:
    return step.operator.fused_activation == "NONE"


def _pads(step: PlacedOperator) -> bool:
    return step.operator.name != DENSE and not step.operator.is_unpadded
