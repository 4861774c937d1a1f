"""What the translations of all layers work with: tensors of the flatbuffer, and the call that is being translated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from convert.lowering.translation.calls import Call, require
from convert.tflite.float_writer import FloatWriter
from convert.tflite.graph import tensor_name
from convert.tflite.operators import CHANNEL_AXIS, CONVOLUTION, DEPTHWISE
from convert.tflite.schema import SCHEMA
from edge_runtime.arrays import Array

ACTIVATING = (*CHANNEL_AXIS, "ADD", "MUL", "SUB")
"""Kinds of operators that can apply an activation to their own output, on every runtime."""

SAME, VALID = SCHEMA.Padding.SAME, SCHEMA.Padding.VALID
SINGLE_PIXEL = {"padding": VALID, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
"""Options of a convolution of single pixels."""


@dataclass(frozen=True)
class Computed:
    """A tensor of the flatbuffer.

    Attributes:
        index: of the tensor.
        kind, operator: of the operator that computes it and can take in what follows, since nothing else reads the
            tensor; "" and None otherwise.
        shape: of the tensor.
    """

    index: int
    kind: str = ""
    operator: Any = None
    shape: tuple[int, ...] = ()

    @property
    def can_activate(self) -> bool:
        """Return whether its operator can still take in an activation."""
        fused = getattr(getattr(self.operator, "builtinOptions", None), "fusedActivationFunction", None)
        return self.kind in ACTIVATING and fused == SCHEMA.ActivationFunctionType.NONE

    @property
    def can_scale(self) -> bool:
        """Return whether its operator has weights that can take in an affine function of the output's channels."""
        return self.kind in CHANNEL_AXIS and self.can_activate


@dataclass(frozen=True)
class Affine:
    """y = (x - subtract) * factor + add for each channel, in float64; None where nothing is done."""

    factor: Array | None = None
    add: Array | None = None
    subtract: Array | None = None

    def __call__(self, x: Array) -> Array:
        """Return y in float64."""
        y = x.astype(np.float64)
        if self.subtract is not None:
            y = y - self.subtract
        if self.factor is not None:
            y = y * self.factor
        return y if self.add is None else y + self.add

    @property
    def does_nothing(self) -> bool:
        """Return whether y = x."""
        return self.factor is None and self.add is None and self.subtract is None

    def scale_and_shift(self, channels: int) -> tuple[Array, Array]:
        """Return the same as y = x * scale + shift, (channels,) each."""
        shift = self(np.zeros(channels))
        scale = np.broadcast_to(1.0 if self.factor is None else self.factor, (channels,))
        return scale, shift

    def then(self, other: Affine, channels: int) -> Affine:
        """Return this function followed by another."""
        (scale, shift), (factor, add) = self.scale_and_shift(channels), other.scale_and_shift(channels)
        return Affine(scale * factor, shift * factor + add)


@dataclass(frozen=True, eq=False)
class Pending(ABC):
    """What is still to be done with `source`: the operator that reads it takes it in, or `call` becomes an operator.

    Attributes:
        source: the tensor as it is.
        call: the last layer in it.
        is_shared: whether several calls read the result.
    """

    source: Computed
    call: LayerCall
    is_shared: bool = field(default=False, kw_only=True)

    @cached_property
    def settled(self) -> Computed:
        """Return the result, computed by an operator of its own that is added the first time."""
        result = self._compute()
        return Computed(result.index, shape=result.shape) if self.is_shared else result

    @abstractmethod
    def _compute(self) -> Computed: ...


@dataclass(frozen=True, eq=False)
class PerPixel(Pending):
    """To be done with every pixel: choose `channels` of as many as the source has, all if None; then `affine`."""

    affine: Affine
    channels: tuple[int, ...] | None = None

    @property
    def width(self) -> int:
        """Return the number of channels of the result."""
        return self.source.shape[-1] if self.channels is None else len(self.channels)

    def _compute(self) -> Computed:
        require(self.call.shape[-1] == self.width, "a single channel")
        scale, shift = self.affine.scale_and_shift(self.width)
        if self.channels is not None:
            return _chosen(self.call, self.source, self.channels, scale, shift)
        return _affine(self.call, self.source.index, scale, shift)


@dataclass(frozen=True, eq=False)
class ZeroPadded(Pending):
    """Zeros around the image: (before, after) of rows and of columns.

    An unpadded convolution takes them in where "SAME" padding adds as many.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]

    def _compute(self) -> Computed:
        paddings = np.array([(0, 0), self.rows, self.columns, (0, 0)], np.int32)
        return self.call.operator("PAD", "Pad", [self.source.index, self.call.constant("paddings", paddings)])


Result = Computed | Pending
"""What becomes of a tensor of Keras."""


@dataclass(frozen=True)
class LayerCall:
    """The translation of one call.

    Attributes:
        call: of Keras.
        model: name of the model.
        results: what the inputs of the call became.
        writer: of the flatbuffer.
    """

    call: Call
    model: str
    results: list[Result]
    writer: FloatWriter

    @property
    def layer(self) -> Any:
        """Return Keras' layer or operation."""
        return self.call.operation

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the output."""
        return self.call.output.shape

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of the inputs."""
        return [value.shape for value in self.call.inputs]

    def input(self, number: int = 0) -> Computed:
        """Return an input as a tensor of the flatbuffer."""
        return settled(self.results[number])

    @property
    def indices(self) -> list[int]:
        """Return all inputs as tensors of the flatbuffer."""
        return [settled(result).index for result in self.results]

    def argument(self, position: int, name: str) -> Any:
        """Return an argument of the call."""
        args = self.call.args
        return args[position] if len(args) > position else self.call.kwargs.get(name)

    def name(self, kind: str) -> str:
        """Name a tensor after the layer."""
        return tensor_name(self.model, self.call.name, kind)

    def constant(self, kind: str, values: Array) -> int:
        """Add a constant; return its index."""
        return self.writer.constant(self.name(kind), values)

    def rename(self, tensor: Computed, kind: str) -> Computed:
        """Rename a tensor, whose operator has taken in the layer, after the layer."""
        self.writer.rename(tensor.index, self.name(kind))
        return tensor

    def operator(
        self, operator: str, kind: str, inputs: list[int], shape: tuple[int, ...] | None = None, **options: Any
    ) -> Computed:
        """Add an operator that computes a tensor, of the output's shape unless it is given, from `inputs`."""
        shape = shape or self.shape
        output = self.writer.tensor(self.name(kind), shape)
        return Computed(output, operator, self.writer.operator(operator, inputs, output, **options), shape)

    def scaled(self, before: Result, affine: Affine, kind: str = "") -> Result:
        """Apply an affine function to the channels of `before`: in its operator, in the one that reads it, or between.

        `before` has the shape of the output. The operator that takes it in is renamed if a `kind` is given.
        """
        if affine.does_nothing:
            return before
        if isinstance(before, PerPixel):
            return replace(before, call=self, affine=before.affine.then(affine, before.width), is_shared=False)
        before = settled(before)
        if not before.can_scale:
            return PerPixel(before, self, affine)
        weights, bias = before.operator.inputs[1:3]
        factor = replace(affine, add=None, subtract=None)
        self.writer.change(weights, along(CHANNEL_AXIS[before.kind], factor))
        self.writer.change(bias, affine)
        return self.rename(before, kind) if kind else before


def along(axis: int, function: Affine) -> Callable[[Array], Array]:
    """Return an affine function of channels that lie along an axis of what it is given."""
    return lambda values: np.moveaxis(function(np.moveaxis(values, axis, -1)), -1, axis)


def settled(result: Result) -> Computed:
    """Return a result as a tensor of the flatbuffer."""
    return result.settled if isinstance(result, Pending) else result


def shared(result: Result) -> Result:
    """Return a result that several calls read, so that none of them may change its operator."""
    if isinstance(result, Pending):
        return replace(result, is_shared=True)
    return Computed(result.index, shape=result.shape)


def _affine(call: LayerCall, source: int, scale: Array, shift: Array) -> Computed:
    """Compute x * scale + shift, (channels,): one MUL or ADD, or a depthwise convolution of one pixel.

    In integers a MUL has one scale for the factors of all channels; a convolution has one for each.
    """
    factors, terms = (_scalar_or_all(values).astype(np.float32) for values in (scale, shift))
    multiplies, adds = bool(np.any(scale != 1)), bool(np.any(shift != 0))
    if multiplies and len(call.shape) == 4 and (adds or factors.size > 1):
        one_pixel = [scale.astype(np.float32).reshape(1, 1, 1, -1), shift.astype(np.float32)]
        inputs = [source, call.constant("scale", one_pixel[0]), call.constant("shift", one_pixel[1])]
        return call.operator(DEPTHWISE, "Scale", inputs, **SINGLE_PIXEL, depthMultiplier=1)
    result = Computed(source)
    if multiplies or not adds:
        result = call.operator("MUL", "Mul", [source, call.constant("scale", factors)])
    if adds:
        result = call.operator("ADD", "Add", [result.index, call.constant("shift", terms)])
    return result


def _scalar_or_all(values: Array) -> Array:
    """Return the value that all channels have in common, (1,), or else all of them."""
    return values[:1] if np.all(values == values[0]) else values


def _chosen(call: LayerCall, source: Computed, channels: tuple[int, ...], scale: Array, shift: Array) -> Computed:
    """Compute x[..., channels] * scale + shift, by a convolution of one pixel."""
    require(len(call.shape) == 4, "a choice of features")
    kernel = np.zeros((len(channels), 1, 1, source.shape[-1]), np.float32)
    kernel[np.arange(len(channels)), 0, 0, channels] = scale
    inputs = [source.index, call.constant("kernel", kernel), call.constant("bias", shift.astype(np.float32))]
    return call.operator(CONVOLUTION, "Channels", inputs, **SINGLE_PIXEL)
