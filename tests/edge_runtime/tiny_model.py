"""A three-class network small enough to predict by hand: the channel with the largest mean wins.

    probabilities = softmax(mean over all pixels of real)        real = (pixel - mean) / std

so that any picture's answer follows from its average colour, without an interpreter. Written with the flatbuffer
classes of ai-edge-litert; no TensorFlow is needed.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edge_runtime import Card, InputSpec
from edge_runtime.artifact import CARD_NAME, LABELS_NAME
from edge_runtime.specs import SOFTMAX, TensorSpec

LABELS = ("red", "green", "blue")
SIZE = 8
SPEC = InputSpec(SIZE, SIZE, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
PIXEL_SCALE = 1 / 127.5
OUTPUT_SCALE = 1 / 256
UINT8 = TensorSpec("image", "uint8", PIXEL_SCALE, 128, "pixels")
INT8 = TensorSpec("image", "int8", PIXEL_SCALE, 0, "pixels")
NORMALIZED = TensorSpec("image", "int8", PIXEL_SCALE, 0, "normalized")
INT8_ANSWER = TensorSpec("probabilities", "int8", OUTPUT_SCALE, -128)
"""Tensors that the network may have in place of float32."""

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "uint8": schema.TensorType.UINT8,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}


def expected_probabilities(pixels: npt.NDArray[np.uint8], spec: InputSpec = SPEC) -> npt.NDArray[np.float64]:
    """Return what the tiny network answers for pixels (height, width, 3), in float64."""
    logits = ((pixels.astype(np.float64) - spec.mean) / spec.std).mean(axis=(0, 1))
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def tiny_flatbuffer(
    input_end: TensorSpec | None = None,
    output_end: TensorSpec | None = None,
    size: int = SIZE,
    bias: float = 0.0,
    head: str = SOFTMAX,
) -> bytes:
    """[DEQUANTIZE ->] MEAN -> FULLY_CONNECTED -> SOFTMAX [-> QUANTIZE], with tensors as given, float32 by default.

    LOGISTIC is in place of SOFTMAX where the labels are independent.
    """
    image = input_end or TensorSpec("image", "float32")
    answer = output_end or TensorSpec("probabilities", "float32")
    graph = _Graph()
    pixels = graph.tensor("image", (1, size, size, 3), image)
    if image.dtype != "float32":
        real = graph.tensor("real", (1, size, size, 3))
        graph.operator(schema.BuiltinOperator.DEQUANTIZE, [pixels], real)
    else:
        real = pixels
    axes = graph.constant("axes", np.array([1, 2], np.int32))
    colour = graph.tensor("colour", (1, 3))
    graph.operator(schema.BuiltinOperator.MEAN, [real, axes], colour, schema.ReducerOptionsT())
    weights, biases = graph.constant("weights", np.eye(3, dtype=np.float32)), np.array([bias, 0, 0], np.float32)
    logits = graph.tensor("logits", (1, 3))
    inputs = [colour, weights, graph.constant("bias", biases)]
    graph.operator(schema.BuiltinOperator.FULLY_CONNECTED, inputs, logits, schema.FullyConnectedOptionsT())
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    probabilities = graph.tensor("softmax", (1, 3))
    if head == SOFTMAX:
        graph.operator(schema.BuiltinOperator.SOFTMAX, [logits], probabilities, softmax)
    else:
        graph.operator(schema.BuiltinOperator.LOGISTIC, [logits], probabilities)
    if answer.dtype != "float32":
        quantized = graph.tensor("probabilities", (1, 3), answer)
        graph.operator(schema.BuiltinOperator.QUANTIZE, [probabilities], quantized)
        probabilities = quantized
    return graph.to_bytes(pixels, probabilities)


@dataclass(frozen=True)
class TinyArtifact:
    """The parts of an artifact, to be written whole or with one part replaced."""

    flatbuffer: bytes
    labels: bytes
    card: Card

    def signed(self) -> TinyArtifact:
        """Return the artifact with the hashes of its parts as they are now."""
        hashes = {name: hashlib.sha256(part).hexdigest() for name, part in self.hashed_parts().items()}
        return replace(self, card=replace(self.card, sha256=hashes).signed())

    def hashed_parts(self) -> dict[str, bytes]:
        """Return the parts whose hashes the card holds, except for the card itself."""
        return {"flatbuffer": self.flatbuffer, "labels": self.labels}

    def write(self, path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
        """Write the flatbuffer, then a zip with labels and card."""
        path.write_bytes(self.flatbuffer)
        with zipfile.ZipFile(path, "a", compression) as archive:
            archive.writestr(LABELS_NAME, self.labels)
            archive.writestr(CARD_NAME, self.card.to_bytes())
        return path


def tiny_artifact(
    input_end: TensorSpec | None = None,
    output_end: TensorSpec | None = None,
    spec: InputSpec = SPEC,
    head: str = SOFTMAX,
) -> TinyArtifact:
    """Make a complete artifact of the tiny network, signed."""
    card = Card(
        name="tiny",
        architecture="mean colour",
        classes=len(LABELS),
        scheme="none",
        preprocessing=spec,
        input=input_end or TensorSpec("image", "float32"),
        output=output_end or TensorSpec("probabilities", "float32"),
        sha256={},
        source={},
        calibration=None,
        drift=None,
        versions={},
        minimum_runtime="1.14.0",
        head=head,
    )
    labels = "".join(f"{label}\n" for label in LABELS).encode()
    return TinyArtifact(tiny_flatbuffer(input_end, output_end, spec.height, head=head), labels, card).signed()


class _Graph:
    """Collects tensors, buffers and operators of one subgraph."""

    def __init__(self) -> None:
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.description = b"tiny"
        self._model.buffers = [schema.BufferT()]
        self._model.operatorCodes = []
        self._subgraph = schema.SubGraphT()
        self._subgraph.tensors, self._subgraph.operators = [], []
        self._model.subgraphs = [self._subgraph]

    def tensor(self, name: str, shape: tuple[int, ...], end: TensorSpec | None = None, buffer: int = 0) -> int:
        """Add a tensor, float32 unless `end` says otherwise, and return its index."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), list(shape), buffer
        tensor.type = _TYPES[end.dtype if end else "float32"]
        if end and end.scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [end.scale], [end.zero_point]
        self._subgraph.tensors.append(tensor)
        return len(self._subgraph.tensors) - 1

    def constant(self, name: str, values: npt.NDArray[Any]) -> int:
        """Add a tensor that holds `values`, and return its index."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        index = self.tensor(name, values.shape, buffer=len(self._model.buffers) - 1)
        self._subgraph.tensors[index].type = _TYPES[values.dtype.name]
        return index

    def operator(self, builtin: int, inputs: list[int], output: int, options: Any = None) -> None:
        """Append an operator."""
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = builtin, 1
        code.deprecatedBuiltinCode = builtin
        self._model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self._model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        if options is not None:
            operator.builtinOptions = options
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        self._subgraph.operators.append(operator)

    def to_bytes(self, image: int, probabilities: int) -> bytes:
        """Return the flatbuffer."""
        self._subgraph.inputs, self._subgraph.outputs = [image], [probabilities]
        builder = flatbuffers.Builder(4096)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
