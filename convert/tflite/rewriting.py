"""Changes to the graph of a `.tflite`: tensors and operators added, replaced, made constant and dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convert.tflite import schema
from convert.tflite.graph import TfliteGraph
from convert.tflite.schema import new
from edge_runtime.arrays import Array

SIGNATURE, ARGUMENT, RESULT = "serving_default", "image", "probabilities"


class GraphEditor(TfliteGraph):
    """A graph under change. Indices of tensors hold until `drop_unused`, positions of operators until the next change.

    What a change leaves without a reader stays in the file until `drop_unused`.
    """

    def add_constant(self, name: str, values: Array, scales: Array | None = None) -> int:
        """Add a constant, and return its index; `scales` are those of integers, along the first axis."""
        index = schema.add_constant(self._model, name, values)
        if scales is not None:
            affine = {"scale": scales, "zeroPoint": np.zeros(len(scales), np.int64)}
            self._graph.tensors[index].quantization = new("QuantizationParameters", **affine)
        return index

    def add_operator(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        name: str,
        position: int | None = None,
        **more: Any,
    ) -> int:
        """Add an operator that computes a float32 tensor; return the tensor's index.

        `position` is where in the order of execution it comes, None for the end; `more` are options of its kind.
        """
        output = schema.add_tensor(self._model, name, tuple(shape), "float32", schema.add_buffer(self._model, None))
        operator = schema.new_operator(self._model, kind, list(inputs), output, **more)
        operators = self._graph.operators
        operators.insert(len(operators) if position is None else position, operator)
        self._forget()
        return output

    def add_input(self, name: str, shape: Sequence[int]) -> int:
        """Add a float32 tensor that nothing computes yet, and return its index."""
        return schema.add_tensor(self._model, name, tuple(shape), "float32", schema.add_buffer(self._model, None))

    def set_input_of(self, position: int, operand: int, tensor: int) -> None:
        """Let the operator at a position read another tensor; an operand behind its last one is added."""
        inputs = [int(i) for i in self._graph.operators[position].inputs]
        inputs += [-1] * (operand + 1 - len(inputs))
        inputs[operand] = tensor
        self._graph.operators[position].inputs = np.array(inputs, np.int32)
        self._forget()

    def replace(self, old: int, replacement: int) -> None:
        """Let every operator that reads a tensor read another one."""
        for operator in self._graph.operators:
            operator.inputs = np.array([replacement if i == old else i for i in operator.inputs], np.int32)
        self._forget()

    def freeze(self, values: Mapping[int, Array]) -> None:
        """Make tensors that operators compute constants with these values; the operators are then unused."""
        for index, array in values.items():
            self._graph.tensors[index].buffer = schema.add_buffer(self._model, np.asarray(array))
        self.set_shapes({index: array.shape for index, array in values.items()})

    def set_shapes(self, shapes: Mapping[int, Sequence[int]]) -> None:
        """Give tensors static shapes."""
        for index, shape in shapes.items():
            self._graph.tensors[index].shape = np.array(shape, np.int32)
            self._graph.tensors[index].shapeSignature = None
        self._forget()

    def set_ends(self, image: int, probabilities: int) -> None:
        """Make two tensors the only input and the only output, and the ends of the only signature."""
        self._graph.inputs, self._graph.outputs = np.array([image], np.int32), np.array([probabilities], np.int32)
        argument = new("TensorMap", name=ARGUMENT.encode(), tensorIndex=image)
        result = new("TensorMap", name=RESULT.encode(), tensorIndex=probabilities)
        self._model.signatureDefs = [
            new("SignatureDef", signatureKey=SIGNATURE.encode(), inputs=[argument], outputs=[result])
        ]
        self._forget()

    def cut_out(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Keep only what computes some tensors from others, which become the ends; signatures are gone."""
        self._graph.inputs, self._graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        self._model.signatureDefs = []
        self.drop_unused()

    def rename(self, index: int, name: str) -> None:
        """Give a tensor another name."""
        self._graph.tensors[index].name = name.encode()

    def drop_unused(self) -> None:
        """Drop the operators, tensors and buffers that the outputs do not need, and give every tensor its own name."""
        needed, given = set(self.outputs), set(self.inputs)
        kept = []
        for operator in reversed(self.operators):
            if any(i in needed - given and not self.is_constant(i) for i in operator.outputs):
                kept.append(self._graph.operators[operator.position])
                needed |= {i for i in (*operator.inputs, *operator.outputs) if i >= 0}
        self._graph.operators = kept[::-1]
        self._renumber(sorted(needed | given))
        self._drop_buffers()
        self._name_apart()
        self._forget()

    def _renumber(self, kept: list[int]) -> None:
        """Keep these tensors only."""
        number = {old: at for at, old in enumerate(kept)} | {-1: -1}
        ends = [
            end for definition in self._model.signatureDefs or [] for end in (*definition.inputs, *definition.outputs)
        ]
        for end in ends:
            end.tensorIndex = number[int(end.tensorIndex)]
        for table in (self._graph, *self._graph.operators):
            table.inputs = np.array([number[int(i)] for i in table.inputs], np.int32)
            table.outputs = np.array([number[int(i)] for i in table.outputs], np.int32)
        for operator in self._graph.operators:
            operator.intermediates = None
        self._graph.tensors = [self._graph.tensors[i] for i in kept]

    def _drop_buffers(self) -> None:
        """Keep the buffers that something refers to, and the first, which is empty by the schema."""
        entries = [*self._graph.tensors, *(self._model.metadata or [])]
        used = sorted({0, *(int(entry.buffer) for entry in entries)})
        number = {old: at for at, old in enumerate(used)}
        for entry in entries:
            entry.buffer = number[int(entry.buffer)]
        self._model.buffers = [self._model.buffers[i] for i in used]
        self._model.metadataBuffer = None

    def _name_apart(self) -> None:
        """Give a number to names that several tensors have: everything later finds tensors by their names."""
        taken: set[str] = set()
        for index in self.tensors:
            name = plain = self.tensor_name(index) or "tensor"
            count = 1
            while name in taken:
                count += 1
                name = f"{plain}_{count}"
            taken.add(name)
            self.rename(index, name)

    def _forget(self) -> None:
        """Forget what was derived from the graph before a change."""
        for derived in ("operators", "_consumers", "_producers"):
            self.__dict__.pop(derived, None)
