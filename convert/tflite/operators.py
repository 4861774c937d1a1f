"""The operators of a graph: which kinds have weights, how those are laid out, and how a kind reads its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convert.tflite.schema import SCHEMA, names_of

CONVOLUTION, DEPTHWISE, TRANSPOSED = "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"
DENSE = "FULLY_CONNECTED"
CONVOLUTIONS = (CONVOLUTION, DEPTHWISE, TRANSPOSED)
POOLS = ("MAX_POOL_2D", "AVERAGE_POOL_2D")
ARITHMETIC = ("ADD", "SUB", "MUL", "DIV")

CHANNEL_AXIS = {
    CONVOLUTION: 0,  # (out, height, width, in)
    DEPTHWISE: 3,  # (1, height, width, out)
    TRANSPOSED: 0,  # (out, height, width, in)
    DENSE: 0,  # (out, in)
}
"""Kinds with weights, and the axis of the weight tensor along which their output channels lie.

TensorFlow Lite 8-bit quantization specification; `TFL_OP_TO_WEIGHT_QUANTIZED_DIM` of litert-quantizer.
"""

CLASSIFIER_KINDS = (CONVOLUTION, DEPTHWISE, DENSE)
"""Kinds with weights that are equalized, corrected and measured; TRANSPOSE_CONV, of decoders, is only quantized."""

_ACTIVATIONS = names_of(SCHEMA.ActivationFunctionType)


@dataclass(frozen=True)
class Operator:
    """One operator of a graph.

    Attributes:
        position: in execution order, from 0.
        name, version: of its kind in the schema ("CONV_2D"); "CUSTOM" for an operator that is not in the schema.
        custom: name of a custom operator ("FlexErf"), else "".
        inputs, outputs: tensor indices; -1 stands for an optional input that is left out.
        options: table of the schema, in its object interface; None where the kind has none.
    """

    position: int
    name: str
    version: int
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any

    @property
    def has_weights(self) -> bool:
        """Return whether the operator is a convolution or a dense operator."""
        return self.name in CHANNEL_AXIS

    @property
    def weights(self) -> int:
        """Return the weights, which need not be constant, of an operator that has some."""
        assert self.has_weights, self.name
        return self.inputs[1]

    @property
    def data(self) -> int:
        """Return the activation that an operator with weights reads."""
        assert self.has_weights, self.name
        return self.inputs[2 if self.name == TRANSPOSED else 0]

    @property
    def bias(self) -> int | None:
        """Return the bias of an operator with weights; None when it has no bias."""
        assert self.has_weights, self.name
        position = 3 if self.name == TRANSPOSED else 2
        return self.inputs[position] if len(self.inputs) > position and self.inputs[position] >= 0 else None

    @property
    def channel_axis(self) -> int:
        """Return the axis of the weight tensor along which the output channels lie."""
        return CHANNEL_AXIS[self.name]

    @property
    def fused_activation(self) -> str:
        """Return the activation that the operator applies to its own result: "NONE", "RELU", "RELU6", ..."""
        return _ACTIVATIONS.get(getattr(self.options, "fusedActivationFunction", 0), "UNKNOWN")

    @property
    def is_unpadded(self) -> bool:
        """Return whether a convolution or pool reads nothing but the pixels of its input (padding "VALID")."""
        return bool(self.options.padding == SCHEMA.Padding.VALID)

    @property
    def strides(self) -> tuple[int, int]:
        """Return the vertical and horizontal stride of a convolution."""
        return int(self.options.strideH), int(self.options.strideW)

    @property
    def dilations(self) -> tuple[int, int]:
        """Return the vertical and horizontal dilation of a convolution."""
        return int(self.options.dilationHFactor), int(self.options.dilationWFactor)


def padding_before(size: int, outputs: int, taps: int, stride: int, dilation: int) -> int:
    """Return the zeros before the first pixel of an axis padded as "SAME": half of what is missing, rounded down."""
    return max((outputs - 1) * stride + (taps - 1) * dilation + 1 - size, 0) // 2
