"""Other people's models: the tiny network with other ends, and TFLite Metadata as their tools write them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from convert.tflite.metadata import IDENTIFIER, METADATA_NAME, Table, _write_table
from edge_runtime import Classifier, InputSpec
from edge_runtime.preprocess import Pixels
from edge_runtime.specs import TensorSpec
from edge_runtime.tensors import Probabilities
from tests.edge_runtime.tiny_model import SIZE, _Graph

OPERATORS = schema.BuiltinOperator
ENDS = {
    "softmax": (OPERATORS.SOFTMAX, schema.SoftmaxOptionsT),
    "sigmoid": (OPERATORS.LOGISTIC, None),
}
IMAGE, NORMALIZATION, AXIS_LABELS, RGB = (np.uint8(code) for code in (2, 1, 2, 1))


@dataclass(frozen=True)
class ForeignModel:
    """[CAST or DEQUANTIZE ->] MEAN -> FULLY_CONNECTED -> an end [-> QUANTIZE] [-> RESHAPE].

    Attributes:
        end: "softmax", "sigmoid" or "logits"; several pairs of these for "softmax by hand".
        image: the input tensor; float32 by default.
        shape, signature: of the input; -1 in a signature is what may be any.
        weights: (scores, 3).
        output_shape: of the answer; (1, scores) by default.
        answer: the output tensor, of integers; float32 by default.
        metadata: a table of the schema; `files` are in the zip behind the model.
    """

    end: str = "softmax"
    image: TensorSpec = field(default_factory=lambda: TensorSpec("image", "float32"))
    shape: tuple[int, ...] = (1, SIZE, SIZE, 3)
    signature: tuple[int, ...] = ()
    weights: Any = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    output_shape: tuple[int, ...] | None = None
    answer: TensorSpec | None = None
    metadata: Table | bytes | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    def flatbuffer(self) -> bytes:
        """Return the model without its zip."""
        graph = _Graph()
        pixels = graph.tensor("image", self.shape, self.image)
        if self.signature:
            graph._subgraph.tensors[pixels].shapeSignature = list(self.signature)
        real = pixels
        if self.image.dtype != "float32":
            real = graph.tensor("real", self.shape)
            has_scale = self.image.scale is not None
            graph.operator(OPERATORS.DEQUANTIZE if has_scale else OPERATORS.CAST, [pixels], real)
        colour, scores = graph.tensor("colour", (1, 3)), (1, len(self.weights))
        axes = graph.constant("axes", np.array([1, 2], np.int32))
        graph.operator(OPERATORS.MEAN, [real, axes], colour, schema.ReducerOptionsT())
        answer = graph.tensor("logits", scores)
        weights = [graph.constant("weights", self.weights), graph.constant("bias", np.zeros(scores[1], np.float32))]
        graph.operator(OPERATORS.FULLY_CONNECTED, [colour, *weights], answer, schema.FullyConnectedOptionsT())
        if self.end == "softmax by hand":
            answer = self._softmax_by_hand(graph, answer, scores)
        elif self.end != "logits":
            answer = self._end(graph, answer, scores)
        if self.answer is not None:
            quantized = graph.tensor("integers", scores, self.answer)
            graph.operator(OPERATORS.QUANTIZE, [answer], quantized)
            answer = quantized
        if self.output_shape is not None:
            shaped = graph.tensor("answer", self.output_shape)
            shape = graph.constant("shape", np.array(self.output_shape, np.int32))
            graph.operator(OPERATORS.RESHAPE, [answer, shape], shaped)
            answer = shaped
        if self.metadata is not None:
            self._add_metadata(graph)
        return graph.to_bytes(pixels, answer)

    def write(self, path: Path) -> Path:
        """Write the model, then the zip."""
        path.write_bytes(self.flatbuffer())
        if self.files:
            with zipfile.ZipFile(path, "a") as archive:
                for name, data in self.files.items():
                    archive.writestr(name, data)
        return path

    def _end(self, graph: _Graph, logits: int, shape: tuple[int, ...]) -> int:
        code, options_type = ENDS[self.end]
        options = options_type and options_type()
        if self.end == "softmax":
            options.beta = 1.0
        answer = graph.tensor(self.end, shape)
        graph.operator(code, [logits], answer, options)
        return answer

    def _softmax_by_hand(self, graph: _Graph, logits: int, shape: tuple[int, ...]) -> int:
        powers, total, answer = graph.tensor("powers", shape), graph.tensor("total", (1, 1)), graph.tensor("p", shape)
        keep = schema.ReducerOptionsT()
        keep.keepDims = True
        graph.operator(OPERATORS.EXP, [logits], powers)
        graph.operator(OPERATORS.SUM, [powers, graph.constant("last", np.array([1], np.int32))], total, keep)
        graph.operator(OPERATORS.DIV, [powers, total], answer, schema.DivOptionsT())
        return answer

    def _add_metadata(self, graph: _Graph) -> None:
        data, entry = schema.BufferT(), schema.MetadataT()
        content = self.metadata if isinstance(self.metadata, bytes) else metadata_bytes(self.metadata or {})
        data.data = np.frombuffer(content, np.uint8)
        graph._model.buffers.append(data)
        entry.name, entry.buffer = METADATA_NAME.encode(), len(graph._model.buffers) - 1
        graph._model.metadata = [entry]


LABEL_FILE = {"labels.txt": b"red\ngreen\nblue\n"}
OPEN = ForeignModel(shape=(1, 1, 1, 3), signature=(1, -1, -1, 3))
"""Takes images of any size."""
PIXELS = InputSpec(SIZE, SIZE, mean=(0, 0, 0), std=(1, 1, 1))


def answer(path: Path, pixels: Pixels, spec: InputSpec | None = None) -> Probabilities:
    """Return what a model answers, its images prepared as its file or `spec` says."""
    with Classifier.open(path, spec=spec) as classifier:
        return np.asarray(classifier.run(pixels))


def metadata_bytes(table: Table) -> bytes:
    """Return a metadata flatbuffer."""
    builder = flatbuffers.Builder(256)
    builder.Finish(_write_table(builder, table), IDENTIFIER)
    return bytes(builder.Output())


def metadata(
    mean: tuple[float, ...] = (127.5,),
    std: tuple[float, ...] = (127.5,),
    label_files: tuple[str, ...] = ("labels.txt",),
    size: tuple[int, int] | None = None,
) -> Table:
    """Return the metadata of an image classifier; no `mean` leaves the normalization out. `size` is height, width."""
    properties: dict[int, Any] = {0: RGB}
    if size is not None:
        properties[1] = {0: np.uint32(size[1]), 1: np.uint32(size[0])}
    image: dict[int, Any] = {0: "image", 3: {0: IMAGE, 1: properties}}
    if mean:
        image[4] = [{0: NORMALIZATION, 1: {0: mean, 1: std}}]
    files: list[Table] = [{0: name, 2: AXIS_LABELS} for name in label_files]
    answer: dict[int, Any] = {0: "probability", **({6: files} if files else {})}
    return {0: "somebody's classifier", 3: [{2: [image], 3: [answer]}]}
