"""The quantization schemes, as data.

real = scale * (q - zero_point), with one scale per tensor for activations and one per output channel for weights
(TensorFlow Lite 8-bit quantization specification).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convert.errors import QuantizationError
from convert.tflite.operators import CLASSIFIER_KINDS

Rule = Mapping[str, Any]
"""A rule in the JSON form of the quantizer; a later rule overrides an earlier one."""

ALL = "*"


def rule(operation: str, config: Mapping[str, Any], algorithm: str = "min_max_uniform_quantize") -> Rule:
    """Return the rule that quantizes all operators of a kind."""
    return {"regex": ".*", "operation": operation, "algorithm_key": algorithm, "op_config": config}


def keep_float(operation: str, regex: str = ".*") -> Rule:
    """Return the rule that leaves operators in float whose output tensors match a regular expression."""
    return {"regex": regex, "operation": operation, "algorithm_key": "no_quantize"}


_INT8_WEIGHTS = {
    "weight_tensor_config": {"num_bits": 8, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"},
    "compute_precision": "INTEGER",
}
_FLOAT16_WEIGHTS = {
    "weight_tensor_config": {"num_bits": 16, "dtype": "FLOAT"},
    "compute_precision": "FLOAT",
    "explicit_dequantize": True,
}


def _activations(bits: int, symmetric: bool, dtype: str = "INT") -> dict[str, Any]:
    """Return int8 weights, and activations of one scale and zero point per tensor."""
    return {"activation_tensor_config": {"num_bits": bits, "symmetric": symmetric, "dtype": dtype}, **_INT8_WEIGHTS}


FLOAT16 = tuple(rule(kind, _FLOAT16_WEIGHTS, "float_casting") for kind in CLASSIFIER_KINDS)
DYNAMIC = (rule(ALL, _INT8_WEIGHTS),)
INT8 = (rule(ALL, _activations(8, symmetric=False)),)
INT16X8 = (rule(ALL, _activations(16, symmetric=True)), keep_float("GELU"), keep_float("RSQRT"))
"""Runtimes of TensorFlow 2.14 have no kernel of GELU and RSQRT for int16."""


@dataclass(frozen=True)
class Scheme:
    """How the numbers of a network are represented.

    Attributes:
        name: as given to `--quantize`.
        summary: one line for people.
        rules: the quantizer's, for the whole network; empty to leave it as it is.
        io: dtype of the artifact's input unless `--io` is given.
        activation_bits: 8 or 16, integers whose ranges are calibrated; None: float at run time.
        float_head: whether pooling, dense layers and softmax at the end stay in float; runtimes up to TensorFlow 2.15
            use one scale of dense weights for all channels, and an int8 softmax has ties.
        keeps_layers: whether it takes `--keep-float`.
        slow_kernels: whether it runs on reference kernels, at a second per image or more.
        fallback: name of the scheme that `--recover` leaves layers in float with; None: it has no recovery.
    """

    name: str
    summary: str
    rules: tuple[Rule, ...]
    io: str = "float32"
    activation_bits: int | None = None
    float_head: bool = False
    keeps_layers: bool = False
    slow_kernels: bool = False
    fallback: str | None = None

    @property
    def calibrates(self) -> bool:
        """Return whether the ranges of activations have to be measured first."""
        return self.activation_bits is not None


@dataclass(frozen=True)
class Recipe:
    """How to quantize a network.

    Attributes:
        io: dtype of the artifact's input; its output is int8 if that is, and float32 otherwise.
        float_layers: names of the tensors whose operators stay in float, if the scheme calibrates.
    """

    scheme: Scheme
    io: str
    float_layers: tuple[str, ...] = ()


_ON_8_BITS: dict[str, Any] = {"rules": INT8, "io": "uint8", "activation_bits": 8, "float_head": True}
_ON_16_BITS: dict[str, Any] = {"rules": INT16X8, "activation_bits": 16, "float_head": True, "slow_kernels": True}
SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("none", "float32, the reference", ()),
        Scheme("float16", "half-precision weights, computed in float", FLOAT16),
        Scheme("dynamic", "int8 weights, activations quantized at run time", DYNAMIC, float_head=True),
        Scheme("int8", "int8 weights per channel, int8 activations, float head", **_ON_8_BITS, fallback="mixed"),
        Scheme("mixed", "int8 except for the layers of --keep-float", **_ON_8_BITS, keeps_layers=True),
        Scheme("int16x8", "int8 weights, int16 activations; reference kernels", **_ON_16_BITS),
    )
}
DEFAULT = SCHEMES["int8"]
FLOAT = SCHEMES["none"]
INTEGERS_ONLY = "int8"
"""The `--io` for integer-only accelerators: the head computes in integers too."""
IO_RULES = {
    "uint8": (keep_float("OUTPUT"), rule("INPUT", _activations(8, symmetric=False, dtype="UINT"))),
    INTEGERS_ONLY: (),
    "float32": (keep_float("OUTPUT"), keep_float("INPUT")),
}
"""`--io` -> the rules for input and output of a network with integer activations; without rules they are int8."""
IO_CHOICES = tuple(IO_RULES)
REFUSED = {
    "int4": "XNNPACK runs no convolution with int4 weights, and the kernels that do took 5 times as long as int8 on "
    "the demo network (67 ms against 14 ms) and agreed on few answers: use int8",
}
"""Schemes that users ask for and that are not worth having, with the reason."""


def parse_schemes(text: str) -> list[Scheme]:
    """Return the schemes of a comma-separated list, in its order, each once.

    Raises:
        QuantizationError: a name is unknown, or there is none.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name in REFUSED:
            raise QuantizationError(f"scheme {name} is not offered: {REFUSED[name]}")
        if name not in SCHEMES:
            raise QuantizationError(f"scheme {name!r} is unknown: choose from {', '.join(SCHEMES)}")
    if not names:
        raise QuantizationError(f"no scheme in {text!r}: choose from {', '.join(SCHEMES)}")
    return [SCHEMES[name] for name in names]


def check_io(scheme: Scheme, io: str | None) -> str:
    """Return the dtype of the artifact's input: `io`, or the scheme's own if it is None.

    Raises:
        QuantizationError: integers are asked of a scheme without 8-bit activations.
    """
    if io is None:
        return scheme.io
    if io != "float32" and scheme.activation_bits != 8:
        raise QuantizationError(f"--io {io} needs 8-bit activations, scheme {scheme.name} has none: use --io float32")
    return io


def unrecovered(scheme: Scheme) -> Scheme:
    """Return the scheme that `--recover` falls back from to this one; the scheme itself if there is none."""
    return next((other for other in SCHEMES.values() if other.fallback == scheme.name), scheme)
