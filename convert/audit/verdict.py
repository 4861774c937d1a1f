"""Is it really int8? One word and one line about a graph."""

from __future__ import annotations

from dataclasses import dataclass

from convert.audit.operators import DYNAMIC, FLOATS, Census, PlacedOperator, plural
from convert.tflite.operators import CONVOLUTIONS, DENSE

INT8, UINT8, INT16X8, MIXED = "int8", "uint8", "int16x8", "mixed"
DYNAMIC_RANGE, WEIGHTS_ONLY, FLOAT16, FLOAT = "dynamic", "weights-only", "float16", "float"
OPENINGS = {
    INT8: "integer",
    UINT8: "integer (uint8, the scheme of TensorFlow 1)",
    INT16X8: "integer, NOT int8: activations of 16 bits",
    MIXED: "NOT int8 throughout",
    DYNAMIC_RANGE: "NOT int8: weights only (dynamic), activations are float",
    WEIGHTS_ONLY: "NOT int8: weights only, unpacked and computed in float",
    FLOAT16: "NOT int8: float, weights stored in 16 bits",
    FLOAT: "NOT int8: float",
}
"""Kind -> how its line begins."""


@dataclass(frozen=True)
class IntegerVerdict:
    """What a graph computes in: `kind`, a key of `OPENINGS`, and `text`, one line for people."""

    kind: str
    text: str


def judge(census: Census) -> IntegerVerdict:
    """Say what a graph computes in.

    int8 (or uint8, int16x8) is a graph whose convolutions are all integer and whose only float operators are a head
    after the last integers, with at most one dense operator in it (pool, dense, softmax), and an addition that moves
    float pixels onto the steps of the integers (`convert.quantization.io_tensors`). Anything else that has an
    integer operator is mixed.
    """
    kind = _kind(census)
    return IntegerVerdict(kind, "; ".join([f"{OPENINGS[kind]}: {_layers(census)}", *_runs(census)]))


def has_float_activations(census: Census) -> bool:
    """Whether any tensor that is computed at run time, ends included, is float: an integer-only device refuses it."""
    graph = census.graph
    computed = [i for step in census.steps for i in (*census.activations(step), *step.operator.outputs)]
    return any(graph.dtype(i) in FLOATS for i in {*computed, *graph.inputs} if not census.is_constant(i))


def _kind(census: Census) -> str:
    widths = {step.compute for step in census.steps if step.is_integer}
    if widths:
        return widths.pop() if len(widths) == 1 and _floats_are_at_the_ends(census) else MIXED
    stored = {step.weights.dtype for step in census.weighted if step.weights}
    if any(step.compute == DYNAMIC for step in census.weighted):
        return DYNAMIC_RANGE
    if any(dtype.startswith(("int", "uint")) for dtype in stored):
        return WEIGHTS_ONLY
    return FLOAT16 if "float16" in stored else FLOAT


def _floats_are_at_the_ends(census: Census) -> bool:
    """A head, and what prepares the input without any weights."""
    at_ends = [step for run in census.float_runs for step in run.steps]
    weighted = [step for step in at_ends if step.weights is not None]
    return (
        all(run.role == "head" or run.is_preparation for run in census.float_runs)
        and len(weighted) <= 1
        and all(step.operator.name == DENSE for step in weighted)
    )


def _layers(census: Census) -> str:
    """How many convolutions and dense operators outside float heads compute in integers, and how they are scaled."""
    in_heads = [step for run in census.float_runs if run.role == "head" for step in run.steps]
    kinds = {
        "convolution": [step for step in census.weighted if step.operator.name in CONVOLUTIONS],
        "dense operator": [step for step in census.weighted if step.operator.name == DENSE and step not in in_heads],
    }
    counted = [_counted(noun, steps) for noun, steps in kinds.items() if steps]
    return ", ".join(counted) or "no convolution and no dense operator"


def _counted(noun: str, steps: list[PlacedOperator]) -> str:
    integer = [step for step in steps if step.is_integer]
    widths = " or ".join(sorted({step.compute for step in integer})) or INT8
    per_tensor = sum(step.weights.granularity == "per-tensor" for step in integer if step.weights)
    granularity = f", {per_tensor} of them per tensor" if per_tensor else " per channel" if integer else ""
    return f"{len(integer)} of {plural(len(steps), noun)} {widths}{granularity}"


def _runs(census: Census) -> list[str]:
    """Float runs by role: how many operators, and how many of those have weights."""
    parts = []
    for role in ("stem", "island", "head"):
        runs = [run for run in census.float_runs if run.role == role]
        steps = [step for run in runs for step in run.steps]
        weighted = sum(step.weights is not None for step in steps)
        if runs:
            count = f"float {role}" if len(runs) == 1 else f"{len(runs)} float {role}s"
            usual = role == "head" and weighted == 1
            with_weights = "" if weighted == 0 or usual else f", {weighted} of them with weights"
            parts.append(f"{count} of {plural(len(steps), 'operator')}{with_weights}")
    return parts
