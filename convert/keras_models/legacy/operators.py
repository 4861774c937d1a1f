"""Operations of TensorFlow between the layers of a Keras 2 model, as the layers of Keras 3 that compute the same.

`x / 127.5 - 1`, or `preprocess_input`, on a symbolic tensor leaves layers of class TFOpLambda in the model: the name of
a function of TensorFlow and its arguments. Arithmetic with constants becomes `Rescaling`, which the rest knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from convert.keras_models.legacy.values import (
    LayerEntry,
    LegacyError,
    is_reference,
    layer_entry,
    operation_entry,
    safe_name,
)

OPERATOR_LAYERS = {"TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "TensorFlowOpLayer"}
"""Layers of Keras 2 that hold a function of TensorFlow."""


@dataclass(frozen=True)
class LegacyOperation:
    """A call of a function of TensorFlow: on a first argument and more, each a reference to a tensor or a constant."""

    name: str
    first: Any
    options: dict[str, Any]

    def other(self) -> Any:
        """Return the second operand of a binary operation."""
        return self.options.get("y", self.options.get("bias"))

    def layer(self, class_name: str, inputs: Any = None, **options: Any) -> LayerEntry:
        """Return a layer in the place of this operation."""
        argument = self.first if inputs is None else inputs
        return layer_entry(class_name, self.name, options) | {"calls": [([argument], {})]}

    def operation(self, module: str, class_name: str, *constants: Any, **options: Any) -> LayerEntry:
        """Return an operation of Keras in the place of this one."""
        return operation_entry(module, class_name, self.name, options) | {"calls": [([self.first, *constants], {})]}


def operator_layers(entry: LayerEntry, calls: list[tuple[list[Any], dict[str, Any]]]) -> list[LayerEntry]:
    """Return the layers of Keras 3 that take the place of an operation, with their calls.

    Raises:
        LegacyError: there are none; it is named.
    """
    function = str(entry["config"].get("function", entry["class_name"]))
    translate = OPERATORS.get(function.removeprefix("compat.v1."))
    if translate is not None and len(calls) == 1:
        arguments, options = calls[0]
        first = arguments[0] if len(arguments) == 1 else arguments
        made = translate(LegacyOperation(safe_name(entry["name"]), first, options))
        if made is not None:
            return [made]
    raise LegacyError(
        f"has an operation {entry['name']} (tf.{function}) between its layers, which is not known: use one of Keras' "
        "own layers in its place, or pass a SavedModel of it"
    )


Translation = Callable[[LegacyOperation], LayerEntry | None]


def _arithmetic(tensors: str, scale: Callable[[Any, bool], Any], offset: Callable[[Any, bool], Any]) -> Translation:
    """Return the translation of a binary operation.

    Args:
        tensors: the layer for two tensors.
        scale, offset: of the `Rescaling` for a tensor and a constant; they are told the constant, and whether it comes
            first.
    """

    def translate(operator: LegacyOperation) -> LayerEntry | None:
        first, second = operator.first, operator.other()
        if is_reference(first) and is_reference(second):
            return operator.layer(tensors, [first, second])
        is_first = not is_reference(first)
        constant = _per_channel(first if is_first else second)
        if constant is None or not (is_reference(first) or is_reference(second)):
            return None
        factor, shift = scale(constant, is_first), offset(constant, is_first)
        return (
            None
            if factor is None
            else operator.layer("Rescaling", second if is_first else first, scale=factor, offset=shift)
        )

    return translate


def _per_channel(value: Any) -> Any:
    """Return a constant as a number, or as a list of one number a channel; None for anything else."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    numbers = value if isinstance(value, list) else [value]
    return value if all(type(number) in (int, float) for number in numbers) else None


def _each(constant: Any, change: Callable[[float], float]) -> Any:
    return [change(number) for number in constant] if isinstance(constant, list) else change(constant)


def _negative(constant: Any) -> Any:
    return _each(constant, lambda number: -number)


ADD = _arithmetic("Add", lambda c, first: 1.0, lambda c, first: c)
SUBTRACT = _arithmetic(
    "Subtract", lambda c, first: -1.0 if first else 1.0, lambda c, first: c if first else _negative(c)
)
MULTIPLY = _arithmetic("Multiply", lambda c, first: c, lambda c, first: 0.0)


def _divide(operator: LegacyOperation) -> LayerEntry | None:
    if is_reference(operator.first) and is_reference(operator.other()):
        return operator.operation("numpy", "TrueDivide", operator.other())
    inverse = _arithmetic("", lambda c, first: None if first else _each(c, lambda n: 1 / n), lambda c, first: 0.0)
    return inverse(operator)


def _layer(class_name: str, **names: str) -> Translation:
    """Return the translation into a layer; `names` are its options, by the options of the operation."""

    def translate(operator: LegacyOperation) -> LayerEntry | None:
        given = {key: value for key, value in operator.options.items() if value is not None and key != "name"}
        if not set(given) <= set(names) or not is_reference(operator.first):
            return None
        return operator.layer(class_name, **{names[key]: value for key, value in given.items()})

    return translate


def _fixed(class_name: str, **options: Any) -> Translation:
    """Return the translation into a layer with these options."""
    return lambda operator: operator.layer(class_name, **options) if is_reference(operator.first) else None


def _pool(class_name: str) -> Translation:
    """Return the translation of a reduction over height and width."""

    def translate(operator: LegacyOperation) -> LayerEntry | None:
        axes = operator.options.get("axis")
        if axes not in ([1, 2], [-3, -2]):
            return None
        return operator.layer(class_name, keepdims=bool(operator.options.get("keepdims")))

    return translate


def _clip(operator: LegacyOperation) -> LayerEntry | None:
    low, high = operator.options.get("clip_value_min"), operator.options.get("clip_value_max")
    return operator.layer("ReLU", max_value=high) if low == 0 and isinstance(high, int | float) else None


def _cast(operator: LegacyOperation) -> LayerEntry | None:
    dtype = operator.options.get("dtype")
    return operator.operation("core", "Cast", dtype=dtype) if isinstance(dtype, str) else None


def _slice(operator: LegacyOperation) -> LayerEntry | None:
    parts: list[Any] = []
    for part in operator.options.get("slice_spec") or []:
        if isinstance(part, dict) and part.get("class_name") == "__ellipsis__":
            parts.append({"class_name": "__ellipsis__", "config": {}})
        elif isinstance(part, dict) and {"start", "stop", "step"} <= set(part):
            parts.append({"class_name": "__slice__", "config": {k: part[k] for k in ("start", "stop", "step")}})
        elif type(part) is int:
            parts.append(part)
        else:
            return None
    return operator.operation("numpy", "GetItem", parts)


def _concatenate(operator: LegacyOperation) -> LayerEntry | None:
    tensors = operator.first if not is_reference(operator.first) else [operator.first]
    if not all(is_reference(each) for each in tensors):
        return None
    return operator.layer("Concatenate", tensors, axis=operator.options.get("axis", -1))


def _reshape(operator: LegacyOperation) -> LayerEntry | None:
    shape = operator.options.get("shape")
    if not isinstance(shape, list) or shape[:1] not in ([-1], [None]) or not all(type(n) is int for n in shape[1:]):
        return None
    return operator.layer("Reshape", target_shape=shape[1:])


def _resize(operator: LegacyOperation) -> LayerEntry | None:
    options = operator.options
    size, method = options.get("size"), options.get("method") or "bilinear"
    is_plain = not options.get("antialias") and not options.get("preserve_aspect_ratio")
    if not is_plain or method not in ("bilinear", "nearest") or not isinstance(size, list):
        return None
    return operator.layer("Resizing", height=size[0], width=size[1], interpolation=method)


def _grey_to_rgb(operator: LegacyOperation) -> LayerEntry | None:
    return operator.layer("Concatenate", [operator.first] * 3, axis=-1) if is_reference(operator.first) else None


OPERATORS: dict[str, Translation] = {
    "__operators__.add": ADD,
    "__operators__.getitem": _slice,
    "math.add": ADD,
    "add": ADD,
    "nn.bias_add": ADD,
    "math.subtract": SUBTRACT,
    "subtract": SUBTRACT,
    "math.multiply": MULTIPLY,
    "multiply": MULTIPLY,
    "math.truediv": _divide,
    "math.divide": _divide,
    "realdiv": _divide,
    "math.negative": _fixed("Rescaling", scale=-1.0, offset=0.0),
    "nn.relu": _layer("ReLU"),
    "nn.relu6": _fixed("ReLU", max_value=6.0),
    "nn.leaky_relu": _layer("LeakyReLU", alpha="negative_slope"),
    "nn.elu": _fixed("Activation", activation="elu"),
    "nn.silu": _fixed("Activation", activation="silu"),
    "nn.swish": _fixed("Activation", activation="silu"),
    "math.sigmoid": _fixed("Activation", activation="sigmoid"),
    "math.tanh": _fixed("Activation", activation="tanh"),
    "nn.softmax": _layer("Softmax", axis="axis"),
    "identity": _fixed("Identity"),
    "stop_gradient": _fixed("Identity"),
    "cast": _cast,
    "clip_by_value": _clip,
    "concat": _concatenate,
    "reshape": _reshape,
    "image.resize": _resize,
    "image.grayscale_to_rgb": _grey_to_rgb,
    "math.reduce_mean": _pool("GlobalAveragePooling2D"),
    "math.reduce_max": _pool("GlobalMaxPooling2D"),
}
"""What computes the same as a function of TensorFlow, by the name that Keras 2 stores."""
