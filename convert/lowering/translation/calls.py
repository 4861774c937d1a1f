"""A Keras model -> the calls that compute its output, in order, without nested models and inactive layers.

A nested model is replaced by its calls, once for each time that it is called; dropout and augmentation, which do
nothing at inference, are left out, so that every value knows who really reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras

from convert.keras_models.walk import calls

INACTIVE = frozenset(
    {
        "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity",
        "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast",
        "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue",
        "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation",
        "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom",
        "SpatialDropout2D", "StochasticDepth",
    }
)  # fmt: skip
"""Layers of Keras' own that return their input at inference. (`RandomCrop` crops the middle then, or resizes.)"""


class UntranslatableError(Exception):
    """A layer, or an option of one, that is not translated here; the message names it: "layer x: activation selu"."""


def require(condition: bool, reason: str) -> None:
    """Raise `UntranslatableError` with a reason unless `condition` holds; the caller adds the layer's name."""
    if not condition:
        raise UntranslatableError(reason)


@dataclass(eq=False)
class Value:
    """A tensor of Keras in the flat graph, with a batch of 1, and how many calls and outputs read it."""

    shape: tuple[int, ...]
    dtype: str
    readers: int = 0


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a layer or of an operation.

    Attributes:
        operation: Keras' layer or operation.
        name: of the layer, behind those of the nested models that it is in: "backbone/conv1".
        args, kwargs: as in Keras, with values in place of tensors.
        inputs: the values among them.
        output: what it computes.
    """

    operation: Any
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Value]
    output: Value


@dataclass
class FlatModel:
    """The calls of a model of one image and one output; `image` and `output` are its ends."""

    model: Any
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Collect the calls.

        Raises:
            UntranslatableError: it has several inputs or outputs, or a part whose calls are not known.
        """
        inputs, outputs = self.model.inputs, self.model.outputs
        require(len(inputs) == 1, f"{len(inputs)} inputs")
        require(len(outputs) == 1, f"{len(outputs)} outputs")
        self.image = Value(_static(inputs[0].shape), str(inputs[0].dtype))
        (self.output,) = self._expand(self.model, [self.image], "")
        self.output.readers += 1

    def _expand(self, model: Any, given: list[Value], path: str) -> list[Value]:
        """Add the calls of a model whose inputs are `given`; return its outputs."""
        values = {id(tensor): value for tensor, value in zip(model.inputs, given, strict=True)}
        for node in _nodes(model):
            operation = node.operation
            if all(id(tensor) in values for tensor in node.outputs):
                continue  # an input
            name = f"{path}{operation.name}"
            inputs = [values[id(tensor)] for tensor in node.input_tensors]
            if isinstance(operation, keras.Model):
                kind = type(operation).__name__
                require(_is_functional(operation), f"layer {name}: {kind}, a model with code of its own")
                outputs = self._expand(operation, inputs, f"{name}/")
            elif is_keras_own(operation) and type(operation).__name__ in INACTIVE:
                outputs = inputs
            else:
                outputs = [self._add(node, name, inputs, values)]
            values |= {id(tensor): value for tensor, value in zip(node.outputs, outputs, strict=True)}
        return [values[id(tensor)] for tensor in model.outputs]

    def _add(self, node: Any, name: str, inputs: list[Value], values: dict[int, Value]) -> Value:
        kind, count = type(node.operation).__name__, len(node.outputs)
        require(count == 1, f"layer {name}: {kind} with {count} outputs")
        args, kwargs = node.arguments.fill_in(values)
        output = Value(_shape(node, values), str(node.outputs[0].dtype))
        for value in inputs:
            value.readers += 1
        self.calls.append(Call(node.operation, name, args, kwargs, inputs, output))
        return output


def is_keras_own(operation: Any) -> bool:
    """Return whether a layer or operation is of Keras' own code."""
    return type(operation).__module__.startswith("keras.src.")


def _is_functional(model: Any) -> bool:
    return is_keras_own(model) and bool(getattr(model, "inputs", None))


def _nodes(model: Any) -> Iterator[Any]:
    """Yield the calls that compute any output of a model, each once and after those that it needs."""
    seen = set()
    for output in model.outputs:
        for node in calls(output):
            if id(node) not in seen:
                seen.add(id(node))
                yield node


def _shape(node: Any, values: dict[int, Value]) -> tuple[int, ...]:
    """Return the shape of what a call computes, also in a nested model that was built for images of any size."""
    shape = node.outputs[0].shape
    if None in shape[1:]:
        tensors = {key: keras.KerasTensor(value.shape, value.dtype) for key, value in values.items()}
        args, kwargs = node.arguments.fill_in(tensors)
        shape = node.operation.compute_output_spec(*args, **kwargs).shape
    return _static(shape)


def _static(shape: Any) -> tuple[int, ...]:
    """Return a shape with a batch of 1."""
    require(None not in shape[1:], "an image of any size")
    return (1, *shape[1:])
