"""Operators that TensorFlow Lite computes in integers and litert-quantizer has no rule for: `STAND_INS`.

The quantizer's list of operators is closed. So while it works, such an operator goes by the name of one that it knows
and that has the same inputs and the same relation between scales: an ELU is a RELU to it, whose output has a scale of
its own, a MINIMUM is a MAXIMUM, all of whose tensors share one, and a PRELU is a MUL, whose constant is quantized, too.
Afterwards it has its own name again.

What is not here stays in float: there is no kernel (LOG in the older runtimes, SQUARE, POW), 256 steps are too few for
what it computes (EXP), or the kernel takes a hundred times as long as the float island (ABS: 26 ms for 400,000 values).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convert.tflite.schema import SCHEMA


@dataclass(frozen=True)
class StandIn:
    """An operator that the quantizer knows, in place of another.

    Attributes:
        name: what the quantizer takes the other for.
        versions: bits of activations -> version of the other operator that has kernels for such integers, where all
            measured runtimes have one (tensorflow/lite/tools/versioning/op_version.cc).
    """

    name: str
    versions: Mapping[int, int]


STAND_INS = {
    "BATCH_TO_SPACE_ND": StandIn("SLICE", {8: 2}),
    "DEPTH_TO_SPACE": StandIn("SPACE_TO_DEPTH", {8: 2}),
    "ELU": StandIn("RELU", {8: 1}),
    "EXPAND_DIMS": StandIn("RESHAPE", {8: 1, 16: 1}),
    "GELU": StandIn("GELU", {8: 2}),
    "HARD_SWISH": StandIn("HARD_SWISH", {8: 1}),
    "LEAKY_RELU": StandIn("RELU", {8: 1, 16: 2}),
    "MINIMUM": StandIn("MAXIMUM", {8: 2, 16: 3}),
    "PRELU": StandIn("MUL", {8: 1}),
    "REDUCE_MAX": StandIn("REDUCE_MIN", {8: 2, 16: 3}),
    "RELU6": StandIn("RELU", {8: 2, 16: 3}),
    "RELU_N1_TO_1": StandIn("RELU", {8: 1}),
    "SPACE_TO_BATCH_ND": StandIn("SLICE", {8: 2}),
    "REVERSE_V2": StandIn("RESHAPE", {8: 1, 16: 1}),
    "SQUEEZE": StandIn("RESHAPE", {8: 1, 16: 1}),
    "TILE": StandIn("RESHAPE", {8: 1, 16: 1}),
}
"""Operator -> what the quantizer takes it for."""

Names = dict[int, tuple[str, int]]
"""Index of an operator code -> operator and version."""


def stand_in(codes: list[Any], bits: int | None) -> Names:
    """Exchange names in a model's operator codes, in place, if its activations become integers of so many bits.

    Returns:
        The names and versions to give back afterwards.
    """
    own = dict[int, tuple[str, int]]()
    for index, code in enumerate(codes):
        name = _NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "")
        replacement = STAND_INS.get(name)
        if bits is not None and replacement is not None and bits in replacement.versions:
            own[index] = name, max(int(code.version), replacement.versions[bits])
            code.builtinCode = getattr(SCHEMA.BuiltinOperator, replacement.name)
    return own


_NAMES = {getattr(SCHEMA.BuiltinOperator, name): name for name in STAND_INS}
