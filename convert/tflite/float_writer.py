"""Operators and constants, one by one -> a float `.tflite`: static batch 1, one subgraph, one signature.

Field by field what TFLiteConverter writes for the same operators: schema version 3, the empty buffer 0, signature
`serving_default` from `image` to `probabilities`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from convert.tflite import schema
from convert.tflite.schema import new
from edge_runtime.arrays import Array

INPUT_NAME, OUTPUT_NAME = "serving_default_image:0", "StatefulPartitionedCall:0"
"""Names that TFLiteConverter gives the input and the output tensor of a SavedModel with such a signature."""

OLDEST_RUNTIME = "1.6.0"
NEWER = {
    "ELU": "1.14.0",
    "GELU": "2.9.0",
    "HARD_SWISH": "1.15.0",
    "LEAKY_RELU": "1.13.1",
    "LOGISTIC": "1.14.0",
    "MAXIMUM": "1.14.0",
    "MINIMUM": "1.14.0",
    "PRELU": "1.8.0",
    "RESIZE_BILINEAR": "2.2.0",
    "RESIZE_NEAREST_NEIGHBOR": "2.3.0",
    "RSQRT": "1.10.0",
    "SLICE": "1.14.0",
    "SQUARED_DIFFERENCE": "1.13.1",
    "TANH": "1.14.0",
}
"""First TensorFlow with an operator of `OPTIONS` in its version, if it is not the oldest or one before.

From compiler/mlir/lite/tools/versioning/runtime_version.cc; of the old ones MEAN came last.
"""


class FloatWriter:
    """A float model under construction; tensors are identified by their index."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()
        self._graph = new("SubGraph", name=b"main", tensors=[], operators=[])
        parts = {"operatorCodes": [], "subgraphs": [self._graph], "buffers": [new("Buffer")]}
        self._model = new("Model", version=3, description=b"irv2-edge", **parts)

    def tensor(self, name: str, shape: tuple[int, ...]) -> int:
        """Add a float32 tensor that is computed at run time, and return its index."""
        return schema.add_tensor(self._model, name, shape, "float32", 0)

    def constant(self, name: str, values: Array) -> int:
        """Add a float32 or int32 tensor that holds `values`, and return its index."""
        return schema.add_constant(self._model, name, values)

    def change(self, index: int, function: Callable[[Array], Array]) -> None:
        """Replace the values of a float32 constant by a function of them, of the same shape."""
        tensor = self._graph.tensors[index]
        buffer = self._model.buffers[tensor.buffer]
        buffer.data = schema.as_bytes(function(buffer.data.view(np.float32).reshape(tensor.shape)).astype(np.float32))

    def operator(self, kind: str, inputs: list[int], output: int, **options: Any) -> Any:
        """Add an operator and return it; options not given keep the schema's defaults, and can still be changed."""
        self._kinds.add(kind)
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
        self._make_names_unique()
        self._graph.inputs, self._graph.outputs = np.array([image], np.int32), np.array([probabilities], np.int32)
        argument = new("TensorMap", name=b"image", tensorIndex=image)
        result = new("TensorMap", name=b"probabilities", tensorIndex=probabilities)
        signature = new("SignatureDef", signatureKey=b"serving_default", inputs=[argument], outputs=[result])
        self._model.signatureDefs = [signature]
        schema.set_metadata(self._model, "min_runtime_version", self._minimum_runtime().encode().ljust(16, b"\0"))
        return schema.to_flatbuffer(self._model)

    def _make_names_unique(self) -> None:
        """Give numbers to tensors of the same name, as those of a shared layer: statistics are kept by name."""
        found: Counter[bytes] = Counter()
        for tensor in self._graph.tensors:
            found[tensor.name] += 1
            if found[tensor.name] > 1:
                tensor.name += f"_{found[tensor.name] - 1}".encode()

    def _minimum_runtime(self) -> str:
        """Return the first TensorFlow with all operators."""
        needed = [OLDEST_RUNTIME, *(NEWER[kind] for kind in self._kinds if kind in NEWER)]
        return max(needed, key=lambda version: [int(part) for part in version.split(".")])
