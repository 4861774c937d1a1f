"""A float `.tflite` that others wrote -> the form in which ours are written, for everything behind the lowering.

Static batch 1 and size, float32, channels last, no operator that only computes constants, a bias in every convolution
and dense operator, an end of `convert.lowering.graphs.graph_ends`, and a name of its own for every tensor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from convert.errors import DamagedModelError, LoweringError, SizeUnknownError, SourceError
from convert.keras_models.sources import sides_text, size_text
from convert.lowering.graphs.graph_ends import GraphEnd, find_end, rewrite_end
from convert.lowering.graphs.graph_front import GraphFront, fold_front, no_front
from convert.tflite.float_writer import INPUT_NAME, OUTPUT_NAME
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from convert.tflite.operators import CLASSIFIER_KINDS
from convert.tflite.rewriting import GraphEditor
from edge_runtime import EdgeError
from edge_runtime.arrays import Array
from edge_runtime.custom_operators import COMPILED

CHANNELS = (3, 1)
INPUT_TYPES = ("float32", "uint8")
TO_CHANNELS_LAST, TO_CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
INTEGERS = ("int2", "int4", "uint4", "int8", "uint8", "int16")
STATEFUL = ("CUSTOM", "DELEGATE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "RANDOM_UNIFORM",
            "RANDOM_STANDARD_NORMAL", "MULTINOMIAL", "HASHTABLE")  # fmt: skip
"""Kinds of operators that an answer must not depend on, or that LiteRT does not have."""


@dataclass(frozen=True)
class ImageInput:
    """The input of a graph: its `dtype`, the size of its images, and whether their channels come first."""

    dtype: str
    height: int
    width: int
    channels: int
    channels_first: bool

    @property
    def size(self) -> tuple[int, int, int]:
        """Return height, width and channels."""
        return self.height, self.width, self.channels

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return the shape of the input tensor with a batch of 1."""
        if self.channels_first:
            return 1, self.channels, self.height, self.width
        return 1, self.height, self.width, self.channels

    def fed(self, image: Array) -> Array:
        """Return an image (height, width, channels) as the input tensor takes it."""
        arranged = image.transpose(2, 0, 1) if self.channels_first else image
        if self.dtype != "float32":
            arranged = np.clip(np.rint(arranged), 0, 255)
        return np.ascontiguousarray(arranged[np.newaxis], self.dtype)


@dataclass(frozen=True)
class ForeignGraph:
    """A graph that others wrote, and the same in our form.

    Attributes:
        original: as it was but for its size, which is static.
        model: in our form.
        image: the input of the original.
        front: what was taken off between that input and the input of `model`.
        end: how the original ends; its `logits` is a tensor of the original.
    """

    original: bytes = field(repr=False)
    model: bytes = field(repr=False)
    image: ImageInput
    front: GraphFront
    end: GraphEnd

    @property
    def classes(self) -> int:
        """Return the number of probabilities of `model`."""
        return 2 if self.end.head == "binary" else self.end.classes


def image_input(shape: tuple[int, ...], dtype: str, size: tuple[int, int] | None, name: str) -> ImageInput:
    """Return the input of a graph, in which -1 stands for what is open, at the size that the user wants if it is open.

    Raises:
        SourceError: it takes no image of 3 channels or 1, or its size is open and not given, or given and not open.
    """
    if dtype not in INPUT_TYPES:
        raise SourceError(f"{name} takes {dtype}: an image classifier takes {' or '.join(INPUT_TYPES)}")
    first = len(shape) == 4 and shape[3] not in CHANNELS and shape[1] in CHANNELS
    if len(shape) != 4 or not (first or shape[3] in CHANNELS):
        raise SourceError(
            f"{name} takes inputs of shape {_shown(shape)}: a classifier of images takes (1, height, width, 3)"
        )
    own = shape[2:] if first else shape[1:3]
    if own == (1, 1):  # what converters write for a size that is open, some of them without a signature
        own = -1, -1
    sides = sides_text([None if side < 0 else side for side in own])
    if size is None and -1 in own:
        any_size = "any size" if own == (-1, -1) else f"{sides} pixels"
        raise SizeUnknownError(
            f"{name} takes images of {any_size}: pass --input-size N or HxW, the size it was trained at"
        )
    if size is not None and any(there not in (-1, wanted) for there, wanted in zip(own, size, strict=True)):
        given = size_text(size if size[0] != size[1] else size[0])
        advice = "pass another for the open side alone" if -1 in own else "leave it out"
        raise SourceError(f"--input-size {given} differs from {sides}, the input size of {name}: {advice}")
    height, width = size or own
    return ImageInput(dtype, height, width, shape[1 if first else 3], first)


def read_foreign_graph(
    model: bytes, size: tuple[int, int] | None, name: str, labels: int | None = None
) -> ForeignGraph:
    """Read a float `.tflite` and bring it into our form; for `labels` see `find_end`.

    Raises:
        SourceError: it is damaged, of several subgraphs, quantized, or no classifier of images; it begins with `name`.
    """
    try:
        graph = GraphEditor(model)
    except DamagedModelError as error:
        raise SourceError(f"{name} is damaged or cut off: copy it again") from error
    except LoweringError as error:
        raise SourceError(f"{name} cannot be converted: {error}") from error
    _refuse_unusable(graph, name)
    (tensor,) = graph.inputs
    image = image_input(graph.shape_signature(tensor), graph.dtype(tensor), size, name)
    graph.set_shapes({tensor: image.shape})
    original = graph.to_bytes()
    _make_static(graph, original, image, name)
    graph = GraphEditor(graph.to_bytes())  # what was derived from shapes is derived again
    end = find_end(graph, name, labels)
    behind, front = fold_front(graph, _channels_last_input(graph, image))
    front = no_front(image.channels, is_cast=image.dtype != "float32").then(front)
    probabilities = rewrite_end(graph, end)
    graph.set_ends(behind, probabilities)
    graph.rename(behind, INPUT_NAME)
    graph.rename(probabilities, OUTPUT_NAME)
    graph.drop_unused()
    _add_biases(graph)
    return ForeignGraph(original, graph.to_bytes(), image, front, end)


def _refuse_unusable(graph: TfliteGraph, name: str) -> None:
    """Refuse what is quantized, has several inputs or outputs, or operators that LiteRT does not have."""
    for kind, ends in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if len(ends) != 1:
            named = ", ".join(graph.tensor_name(i) for i in ends)
            raise SourceError(f"{name} has {len(ends)} {kind} ({named}): an image classifier has one")
    quantized = next((i for i in graph.tensors if graph.dtype(i) in INTEGERS and graph.scales(i) is not None), None)
    if quantized is not None:
        what = "weights" if graph.is_constant(quantized) else "activations"
        raise SourceError(
            f"{name} is quantized already ({graph.dtype(quantized)} {what}): convert the float file it was made from"
        )
    for operator in graph.operators:
        if operator.custom in COMPILED:
            hardware = COMPILED[operator.custom].name
            raise SourceError(f"{name} is compiled for {hardware} ({operator.custom}): convert what it was made from")
        if operator.name in STATEFUL:
            raise SourceError(
                f"{name} needs the operator {operator.custom or operator.name}, which LiteRT's own kernels do not "
                "offer to a classifier: convert it with TFLITE_BUILTINS alone"
            )
    halves = [i for operator in graph.operators for i in operator.outputs if graph.dtype(i) == "float16"]
    if any(not graph.is_constant(i) for i in halves):
        raise SourceError(f"{name} computes in float16: convert the float32 file it was made from")
    (output,) = graph.outputs
    if graph.dtype(output) != "float32":
        raise SourceError(f"{name} has outputs of {graph.dtype(output)}: a classifier has float32 class scores")


def _make_static(graph: GraphEditor, original: bytes, image: ImageInput, name: str) -> None:
    """Give every tensor the shape that it has at run time, and make constants of what no image changes."""
    try:
        engine = RecordingEngine(original, with_xnnpack=False)
        engine.run(image.fed(np.zeros((image.height, image.width, image.channels), np.float32)))
    except EdgeError as error:
        raise SourceError(
            f"{name} cannot take {image.height}x{image.width} images ({error}): pass another --input-size"
        ) from error
    shapes, fixed = dict[int, tuple[int, ...]](), dict[int, Array]()
    for operator in graph.operators:
        given = [i for i in operator.inputs if i >= 0]
        is_fixed = operator.name == "SHAPE" or all(i in fixed or graph.is_constant(i) for i in given)
        for output in operator.outputs:
            values = engine.tensor(output)
            shapes[output] = values.shape
            if is_fixed:
                fixed[output] = values
    graph.set_shapes(shapes)
    graph.freeze(fixed)


def _channels_last_input(graph: GraphEditor, image: ImageInput) -> int:
    """Return the float32 tensor (1, height, width, channels) that stands for the image: the input, or one in its place.

    A cast from uint8 falls away, and so does a transposition to channels last.
    """
    (tensor,) = graph.inputs
    if image.dtype != "float32":
        casts = [operator for operator in graph.consumers(tensor) if operator.name == "CAST"]
        pixels = graph.add_input("pixels", image.shape)
        for cast in casts:
            graph.replace(cast.outputs[0], pixels)
        tensor = pixels
    if not image.channels_first:
        return tensor
    last = graph.add_input("image", (1, image.height, image.width, image.channels))
    for operator in graph.consumers(tensor):
        if operator.name == "TRANSPOSE" and tuple(graph.constant(operator.inputs[1])) == TO_CHANNELS_LAST:
            graph.replace(operator.outputs[0], last)
    order = graph.add_constant("image/order", np.array(TO_CHANNELS_FIRST, np.int32))
    graph.replace(tensor, graph.add_operator("TRANSPOSE", [last, order], image.shape, "image/first", position=0))
    return last


def _add_biases(graph: GraphEditor) -> None:
    """Give a bias of zeros to the convolutions and dense operators without one, to be corrected in."""
    for operator in graph.operators:
        if operator.name in CLASSIFIER_KINDS and operator.bias is None:
            zeros = np.zeros(graph.shape(operator.weights)[operator.channel_axis], np.float32)
            bias = graph.add_constant(f"{graph.tensor_name(operator.outputs[0])}/bias", zeros)
            graph.set_input_of(operator.position, 2, bias)


def _shown(shape: tuple[int, ...]) -> str:
    """Return a shape with None for what is open, as Keras shows it."""
    return str(tuple(None if size < 0 else size for size in shape))
