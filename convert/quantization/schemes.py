"""The quantization schemes, as data.

real = scale * (q - zero_point), with one scale a tensor for activations and one scale an output channel
for weights (TensorFlow Lite 8-bit quantization specification).
"""

from __future__ import annotations

from dataclasses import dataclass

from convert.errors import QuantizationError


@dataclass(frozen=True)
class Scheme:
    """How wide the numbers of a network become.

    Attributes:
        name: as given to `--quantize`.
        summary: one line for people.
        weight_bits: 8, 16 (half precision) or 32 (float).
        activation_bits: 8 or 16, integers fixed by calibration; None: float at run time.
        io: what the ends of the artifact are unless `--io` says otherwise.
        validation_limit: most images worth the time of its kernels; None for no limit.
        keeps_layers: whether some layers stay in float.
    """

    name: str
    summary: str
    weight_bits: int
    activation_bits: int | None
    io: str
    validation_limit: int | None = None
    keeps_layers: bool = False

    @property
    def calibrates(self) -> bool:
        """Whether ranges of activations have to be measured first."""
        return self.activation_bits is not None


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("none", "float32, the reference", 32, None, "float32"),
        Scheme("float16", "half-precision weights, computed in float", 16, None, "float32"),
        Scheme("dynamic", "int8 weights, activations quantized at run time", 8, None, "float32"),
        Scheme("int8", "int8 weights a channel, int8 activations, float head", 8, 8, "uint8"),
        Scheme("mixed", "int8 but for the layers of --keep-float", 8, 8, "uint8", keeps_layers=True),
        Scheme("int16x8", "int8 weights, int16 activations; reference kernels", 8, 16, "float32", 4),
    )
}

REFUSED = {
    "int4": "XNNPACK runs no convolution with int4 weights, and the kernels that do took 5 times as long as int8 on "
    "the demo network (67 ms against 14 ms) and agreed on few answers: use int8",
}
"""Schemes one may ask for that are not worth having, and why."""

IO_CHOICES = ("uint8", "int8", "float32")


def parse_schemes(text: str) -> list[Scheme]:
    """The schemes of a comma-separated list, in its order, each once.

    Raises:
        QuantizationError: a name is unknown, or the list is empty.
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
    """The ends of the artifact: `io`, or the scheme's own when it is None.

    Raises:
        QuantizationError: a scheme that computes in float cannot have integer ends.
    """
    if io is None:
        return scheme.io
    if io != "float32" and scheme.activation_bits != 8:
        raise QuantizationError(f"--io {io} needs 8-bit activations, scheme {scheme.name} has none: use --io float32")
    return io
