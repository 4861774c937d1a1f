"""Is it really int8? The precision that a graph computes in, as one word and one line."""

from __future__ import annotations

from dataclasses import dataclass

from convert.audit.checks import plural
from convert.audit.operators import DYNAMIC, FLOATS, LOOKUP, RECURRENT, ClassifiedGraph, ClassifiedOperator
from convert.tflite.operators import DENSE
from edge_runtime import custom_operators

INT8, UINT8, INT16X8, MIXED = "int8", "uint8", "int16x8", "mixed"
DYNAMIC_RANGE, WEIGHTS_ONLY, FLOAT16, FLOAT = "dynamic", "weights-only", "float16", "float"
COMPILED = "compiled"
OPENINGS = {
    INT8: "integer",
    UINT8: "integer (uint8, the scheme of TensorFlow 1)",
    INT16X8: "integer, NOT int8: activations of 16 bits",
    MIXED: "NOT int8 throughout",
    DYNAMIC_RANGE: "NOT int8: weights only (dynamic), activations are float",
    WEIGHTS_ONLY: "NOT int8: weights only, unpacked and computed in float",
    FLOAT16: "NOT int8: float, weights stored in 16 bits",
    FLOAT: "NOT int8: float",
    COMPILED: "compiled for its hardware, which hides what is computed how; beside that",
}
"""Kind -> how its line begins."""


@dataclass(frozen=True)
class IntegerVerdict:
    """The precision that a graph computes in: `kind`, a key of `OPENINGS`, and `text`, one line for users."""

    kind: str
    text: str


def judge(graph: ClassifiedGraph) -> IntegerVerdict:
    """Judge what precision a graph computes in.

    int8 (or uint8, int16x8) is a graph whose convolutions are all integer and whose only float operators are a head
    after the last integers (pool, softmax and at most one dense operator), and an addition that shifts float pixels
    onto the grid of the integers (`convert.quantization.io_tensors`). Any other graph with an integer operator is
    mixed. What a vendor's compiler made cannot be judged.
    """
    kind = _kind(graph)
    return IntegerVerdict(kind, "; ".join([f"{OPENINGS[kind]}: {_layers(graph)}", *_runs(graph)]))


def has_float_activations(graph: ClassifiedGraph) -> bool:
    """Return whether anything computed at run time, input and output included, is float."""
    tensors = graph.tflite
    computed = [i for operator in graph.operators for i in (*graph.activations(operator), *operator.outputs)]
    return any(tensors.dtype(i) in FLOATS for i in {*computed, *tensors.inputs} if not graph.is_constant(i))


def _kind(graph: ClassifiedGraph) -> str:
    if any(operator.custom in custom_operators.COMPILED for operator in graph.operators):
        return COMPILED
    widths = {operator.compute for operator in graph.operators if operator.is_integer}
    if widths:
        return widths.pop() if len(widths) == 1 and _floats_are_at_the_ends(graph) else MIXED
    stored = {weights.dtype for _, weights in graph.weighted}
    stored |= {graph.tflite.dtype(i) for op in graph.operators if op.is_float for i in graph.unpacked(op)}
    stored |= {graph.tflite.dtype(op.outputs[0]) for op in graph.operators if op.compute == LOOKUP and op.outputs}
    if any(operator.compute == DYNAMIC for operator in graph.operators):
        return DYNAMIC_RANGE
    if any(dtype.startswith(("int", "uint")) for dtype in stored):
        return WEIGHTS_ONLY
    return FLOAT16 if "float16" in stored else FLOAT


def _floats_are_at_the_ends(graph: ClassifiedGraph) -> bool:
    """Return whether all float operators are a head, with at most one dense operator, or prepare the input."""
    weighted = [operator for run in graph.float_runs for operator in run.operators if operator.stored_weights]
    return (
        all(run.role == "head" or run.is_preparation for run in graph.float_runs)
        and len(weighted) <= 1
        and all(operator.name == DENSE for operator in weighted)
    )


def _layers(graph: ClassifiedGraph) -> str:
    """Count the convolutions, and the dense operators outside float heads, that compute in integers."""
    in_heads = [operator for run in graph.float_runs if run.role == "head" for operator in run.operators]
    operators = [operator for operator, _ in graph.weighted]
    kinds = {
        "convolution": [operator for operator in operators if operator.name != DENSE],
        "dense operator": [operator for operator in operators if operator.name == DENSE and operator not in in_heads],
        "recurrent operator": [operator for operator in graph.operators if operator.name in RECURRENT],
    }
    counted = [_counted(noun, members) for noun, members in kinds.items() if members]
    return ", ".join(counted) or "no convolution and no dense operator"


def _counted(noun: str, operators: list[ClassifiedOperator]) -> str:
    integer = [operator for operator in operators if operator.is_integer]
    widths = " or ".join(sorted({operator.compute for operator in integer})) or INT8
    per_tensor = sum(op.stored_weights.granularity == "per-tensor" for op in integer if op.stored_weights)
    has_channels = any(op.stored_weights for op in integer)
    granularity = f", {per_tensor} of them per tensor" if per_tensor else " per channel" if has_channels else ""
    return f"{len(integer)} of {plural(len(operators), noun)} {widths}{granularity}"


def _runs(graph: ClassifiedGraph) -> list[str]:
    """Count the float runs of each role, their operators, and how many of those have weights."""
    parts = []
    for role in ("stem", "island", "head"):
        runs = [run for run in graph.float_runs if run.role == role]
        operators = [operator for run in runs for operator in run.operators]
        weighted = sum(operator.stored_weights is not None for operator in operators)
        if runs:
            count = f"float {role}" if len(runs) == 1 else f"{len(runs)} float {role}s"
            usual = role == "head" and weighted == 1
            with_weights = "" if weighted == 0 or usual else f", {weighted} of them with weights"
            parts.append(f"{count} of {plural(len(operators), 'operator')}{with_weights}")
    return parts
