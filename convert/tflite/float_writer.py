"""Operators and constants, one by one -> a float `.tflite`: static batch 1, one subgraph, one signature.

Field by field what TFLiteConverter writes for the same operators: schema version 3, the empty buffer 0, signature
`serving_default` from `image` to `probabilities`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convert.tflite import schema
from convert.tflite.schema import new
from edge_runtime.arrays import Array

INPUT_NAME, OUTPUT_NAME = "serving_default_image:0", "StatefulPartitionedCall:0"
"""Names that TFLiteConverter gives the input and the output tensor of a SavedModel with such a signature."""

MINIMUM_RUNTIME = b"1.6.0"
"""First TensorFlow with all `OPTIONS`; MEAN came last (compiler/mlir/lite/tools/versioning/runtime_version.cc)."""


class FloatWriter:
    """A float model under construction; tensors are identified by their index."""

    def __init__(self) -> None:
        self._graph = new("SubGraph", name=b"main", tensors=[], operators=[])
        parts = {"operatorCodes": [], "subgraphs": [self._graph], "buffers": [new("Buffer")]}
        self._model = new("Model", version=3, description=b"irv2-edge", **parts)

    def tensor(self, name: str, shape: tuple[int, ...]) -> int:
        """Add a float32 tensor that is computed at run time, and return its index."""
        return schema.add_tensor(self._model, name, shape, "float32", 0)

    def constant(self, name: str, values: Array) -> int:
        """Add a float32 or int32 tensor that holds `values`, and return its index."""
        return schema.add_constant(self._model, name, values)

    def scale(self, index: int, factor: float) -> None:
        """Multiply the values of a float32 constant."""
        buffer = self._model.buffers[self._graph.tensors[index].buffer]
        buffer.data = schema.as_bytes(buffer.data.view(np.float32) * np.float32(factor))

    def operator(self, kind: str, inputs: list[int], output: int, **options: Any) -> Any:
        """Add an operator and return it; options not given keep the schema's defaults, and can still be changed."""
        operator = schema.new_operator(self._model, kind, inputs, output, **options)
        self._graph.operators.append(operator)
        return operator

    def rename(self, index: int, name: str) -> None:
        """Give a tensor another name."""
        self._graph.tensors[index].name = name.encode()

    def finish(self, image: int, probabilities: int) -> bytes:
        """Return the flatbuffer of a model that computes one tensor from the other."""
        self.rename(image, INPUT_NAME)
        self.rename(probabilities, OUTPUT_NAME)
        self._graph.inputs, self._graph.outputs = np.array([image], np.int32), np.array([probabilities], np.int32)
        argument = new("TensorMap", name=b"image", tensorIndex=image)
        result = new("TensorMap", name=b"probabilities", tensorIndex=probabilities)
        signature = new("SignatureDef", signatureKey=b"serving_default", inputs=[argument], outputs=[result])
        self._model.signatureDefs = [signature]
        schema.set_metadata(self._model, "min_runtime_version", MINIMUM_RUNTIME.ljust(16, b"\0"))
        return schema.to_flatbuffer(self._model)
