"""Sums, products and other functions of several tensors, or of one and a constant."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from convert.lowering.translation.calls import Value, require
from convert.lowering.translation.layer_call import Affine, Computed, LayerCall, Result
from convert.lowering.translation.normalizations import per_channel


def _chain(operator: str, kind: str, call: LayerCall) -> Computed:
    """Apply an operator of two tensors to the first two inputs, then to the result and the next, and so on."""
    shapes = call.input_shapes
    require(len(shapes) > 1 and len({len(shape) for shape in shapes}) == 1, f"{kind} of tensors of different ranks")
    first, *others = call.indices
    shape = shapes[0]
    for other, its in zip(others, shapes[1:], strict=True):
        shape = tuple(int(size) for size in np.broadcast_shapes(shape, its))
        result = call.operator(operator, kind, [first, other], shape)
        first = result.index
    return result


add = partial(_chain, "ADD", "Add")
multiply = partial(_chain, "MUL", "Mul")
subtract = partial(_chain, "SUB", "Sub")
maximum = partial(_chain, "MAXIMUM", "Maximum")
minimum = partial(_chain, "MINIMUM", "Minimum")


def average(call: LayerCall) -> Result:
    """Translate Average."""
    return call.scaled(add(call), Affine(np.array([1 / len(call.results)])), "Average")


def scaled_sum(call: LayerCall) -> Result:
    """Translate the sum in Keras' own residual blocks, x + scale * branch: scale the branch's last convolution."""
    scale = np.array([np.float64(np.float32(call.layer.scale))])
    call.results[1] = call.scaled(call.results[1], Affine(scale))
    return add(call)


def _with_constant(
    translate: Callable[[LayerCall], Result], of_left: Callable[[Any], Affine], of_right: Callable[[Any], Affine]
) -> Callable[[LayerCall], Result]:
    """Return the translation of an operation of two tensors, or of a tensor and constants for its channels."""

    def translated(call: LayerCall) -> Result:
        left, right = (call.argument(position, name) for position, name in enumerate(("x1", "x2")))
        if isinstance(left, Value) and isinstance(right, Value):
            return translate(call)
        affine = (of_left if isinstance(left, Value) else of_right)(_constant(call, right, left))
        require(call.shape == call.input_shapes[0], f"{type(call.layer).__name__} that broadcasts the tensor")
        return call.scaled(call.results[0], affine, type(call.layer).__name__)

    return translated


def _constant(call: LayerCall, *sides: Any) -> Any:
    (constant,) = (side for side in sides if not isinstance(side, Value))
    return per_channel(keras.ops.convert_to_numpy(constant), call.shape)


def _refused(_: Any) -> Affine:
    require(False, "division by a tensor")
    raise AssertionError


add_operation = _with_constant(add, lambda c: Affine(add=c), lambda c: Affine(add=c))
subtract_operation = _with_constant(subtract, lambda c: Affine(subtract=c), lambda c: Affine(np.array([-1.0]), add=c))
multiply_operation = _with_constant(multiply, Affine, Affine)
divide_operation = _with_constant(partial(_chain, "DIV", "Div"), lambda c: Affine(1 / c), _refused)


def negative(call: LayerCall) -> Result:
    """Translate keras.ops.negative."""
    return call.scaled(call.results[0], Affine(np.array([-1.0])), "Neg")


def mean(call: LayerCall) -> Result:
    """Translate keras.ops.mean."""
    axis = call.layer.axis
    require(axis is not None, "the mean over all axes")
    axes = [number % len(call.input_shapes[0]) for number in (axis if isinstance(axis, list | tuple) else (axis,))]
    require(0 not in axes, "the mean over the batch")
    inputs = [call.input().index, call.constant("axes", np.array(axes, np.int32))]
    return call.operator("MEAN", "Mean", inputs, keepDims=bool(call.layer.keepdims))
