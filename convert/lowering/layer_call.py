"""What a translation of Keras layers to TFLite operators is made of: the flatbuffer so far, and one call of a layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from convert.keras_models.walk import calls
from convert.lowering.batch_norm_folding import foldable_pairs
from convert.tflite.float_writer import FloatWriter
from convert.tflite.graph import tensor_name
from convert.tflite.schema import SCHEMA
from edge_runtime.arrays import Array

NONE, RELU, RELU6 = (getattr(SCHEMA.ActivationFunctionType, name) for name in ("NONE", "RELU", "RELU6"))
FUSED = {keras.activations.linear: NONE, keras.activations.relu: RELU, keras.activations.relu6: RELU6}
"""Activations that an operator can apply to its own output."""


class UntranslatableError(Exception):
    """A layer, or an option of one, that is not translated here."""


@dataclass(frozen=True)
class Computed:
    """A tensor of the flatbuffer, the operator that computes it, and that operator's kind ("" for the input)."""

    index: int
    kind: str = ""
    operator: Any = field(default=None, compare=False)

    @property
    def can_activate(self) -> bool:
        """Return whether its operator can still take in an activation."""
        options = getattr(self.operator, "builtinOptions", None)
        return getattr(options, "fusedActivationFunction", None) == NONE and "POOL" not in self.kind


class Translation:
    """The translation of one model: for each tensor of Keras, the tensor of the flatbuffer that it became."""

    def __init__(self, model: keras.Model) -> None:
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise UntranslatableError
        self.model, self.writer = model, FloatWriter()
        self.batch_norms = {id(convolution): batch_norm for convolution, batch_norm in foldable_pairs(model)}
        self.folded = {id(batch_norm) for batch_norm in self.batch_norms.values()}
        self.nodes = list(calls(model.outputs[0]))
        self.readers = Counter(id(tensor) for node in self.nodes for tensor in node.input_tensors)
        self.computed: dict[int, Computed] = {}

    def run(self, translations: Mapping[str, Callable[[LayerCall], Computed]]) -> bytes:
        """Translate every call of a layer by the function for its class; return the flatbuffer."""
        for node in self.nodes:
            layer = node.operation
            translate = translations.get(type(layer).__name__)
            if translate is None or not _is_supported(layer):
                raise UntranslatableError
            inputs = [self.computed[id(tensor)] for tensor in node.input_tensors]
            call = LayerCall(self, layer, inputs, node.input_tensors, node.outputs[0])
            self.computed[id(call.output)] = translate(call)
        image, probabilities = self.computed[id(self.model.inputs[0])], self.computed[id(self.model.outputs[0])]
        if not probabilities.kind:
            raise UntranslatableError
        return self.writer.finish(image.index, probabilities.index)


def _is_supported(layer: Any) -> bool:
    """Return whether it is a layer of Keras' own in float32, channels last."""
    return (
        isinstance(layer, layers.Layer)
        and type(layer).__module__.startswith("keras.src.")
        and layer.compute_dtype == "float32"
        and getattr(layer, "data_format", "channels_last") == "channels_last"
    )


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer in a model that is being translated.

    Attributes:
        translation: of the model.
        layer: Keras' layer.
        inputs, tensors: what it reads, in the flatbuffer and in Keras.
        output: the tensor in Keras that it computes.
    """

    translation: Translation
    layer: Any
    inputs: list[Computed]
    tensors: list[Any]
    output: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the output, with a batch of 1."""
        shape = (1, *self.output.shape[1:])
        if None in shape:
            raise UntranslatableError
        return shape

    @property
    def indices(self) -> list[int]:
        """Return the tensors of the flatbuffer that it reads."""
        return [each.index for each in self.inputs]

    def is_only_reader(self, tensor: int) -> bool:
        """Return whether nothing else reads the input of that number."""
        return self.translation.readers[id(self.tensors[tensor])] == 1

    def name(self, kind: str) -> str:
        """Name a tensor after the layer."""
        return tensor_name(self.translation.model.name, self.layer.name, kind)

    def constant(self, kind: str, values: Array) -> int:
        """Add a constant; return its index."""
        return self.translation.writer.constant(self.name(kind), values)

    def rename(self, tensor: Computed, kind: str) -> Computed:
        """Rename a tensor, whose operator has taken in the layer, after the layer."""
        self.translation.writer.rename(tensor.index, self.name(kind))
        return tensor

    def operator(self, operator: str, kind: str, inputs: list[int], **options: Any) -> Computed:
        """Add an operator that computes a tensor of the output's shape from the tensors `inputs`."""
        writer = self.translation.writer
        output = writer.tensor(self.name(kind), self.shape)
        return Computed(output, operator, writer.operator(operator, inputs, output, **options))

    def activated(self, before: Computed, activation: Any) -> Computed:
        """Apply an activation to `before`, inside its operator where that is possible."""
        if activation is keras.activations.softmax:
            if len(self.shape) != 2:
                raise UntranslatableError
            return self.operator("SOFTMAX", "Softmax", [before.index], beta=1.0)
        fused = FUSED.get(activation)
        if fused is None:
            raise UntranslatableError
        if fused == NONE:
            return before
        operator = "RELU" if fused == RELU else "RELU6"
        if not before.can_activate:
            return self.operator(operator, operator.capitalize(), [before.index])
        before.operator.builtinOptions.fusedActivationFunction = fused
        return self.rename(before, operator.capitalize())
