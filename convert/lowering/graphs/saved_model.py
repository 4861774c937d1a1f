"""A SavedModel folder as a network to convert: its graph as it is, whatever made it. Runs in the worker."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import SourceError
from convert.keras_models.hdf5 import one_line
from convert.keras_models.sources import ModelSource
from convert.lowering.graphs.foreign_graph import ForeignGraph, ImageInput, image_input, read_foreign_graph
from convert.lowering.graphs.graph_front import GraphFront, affine, no_front, reversal
from convert.lowering.graphs.reference import checked_logits
from convert.lowering.graphs.saved_model_graph import TAG, Signature, loadable, read_signature
from convert.system.content import content_sha256
from edge_runtime import InputSpec
from edge_runtime.arrays import Array

ACTIVATIONS = {"Softmax": "SOFTMAX", "LogSoftmax": "LOG_SOFTMAX", "Sigmoid": "LOGISTIC"}
ARITHMETIC = {
    "Add": "ADD",
    "AddV2": "ADD",
    "BiasAdd": "ADD",
    "Sub": "SUB",
    "Mul": "MUL",
    "RealDiv": "DIV",
    "Div": "DIV",
}
"""TensorFlow's operators -> those of TFLite, see `graph_ends` and `graph_front`."""
SHAPING = ("Identity", "Reshape", "Squeeze", "ExpandDims")
UNSUPPORTED = re.compile(r"(?:TF Select|Custom) ops: ([^\n]+)")


@dataclass(frozen=True)
class Frozen:
    """A function of TensorFlow in one graph without variables: its tensors of one image and of that one's scores."""

    graph: Any
    image: Any
    scores: Any

    def between(self, start: Any, ends: Any) -> Any:
        """Return the function of TensorFlow from one tensor, or none (`[]`), to others."""
        return self.graph.prune(start, ends)


class SavedModelNetwork:
    """A SavedModel of TensorFlow 2; its answers are those of TensorFlow for its signature."""

    def __init__(self, source: ModelSource) -> None:
        source.check()
        self._folder = Path(source.model)
        signature = read_signature(self._folder)
        self._image = image_input(signature.shape, signature.dtype, source.size, str(self._folder))
        self._frozen = _frozen(self._folder, signature, self._image)
        gc.collect()  # the worker does not, and a graph of TensorFlow with its constants is a circle
        behind, front = fold_tensorflow_front(self._frozen, self._image)
        network = self._frozen.between(behind, self._frozen.scores)
        self._graph: ForeignGraph = _converted(network, self._folder, source.labels)
        del network
        gc.collect()
        self._front = front.then(self._graph.front)
        self.architecture = f"SavedModel of TensorFlow {signature.version}"
        self.recognized = f"{self._folder.name}: {self.architecture}, signature {signature.name}"
        self.labels: tuple[str, ...] | None = None
        self.weights_sha256 = content_sha256(self._folder)
        self.head, self.classes = self._graph.end.head, self._graph.classes
        self.front = (*_left_out(signature), *self._front.lines)
        self.slow_layers: tuple[str, ...] = (f"all of {self._folder.name}, which is a graph, not layers",)

    def spec(self, preprocessing: str | None) -> InputSpec:
        """Return how images are prepared; see `Network.spec`."""
        return self._front.spec(preprocessing, self._folder, self._image.size)

    def to_tflite(self, scratch: Path, report: Callable[[str], object]) -> bytes:
        """Return what TFLiteConverter makes of the graph, in the form of ours; see `Network.to_tflite`."""
        return self._graph.model

    def logits(self, images: Array) -> Array:
        """Return the answers of TensorFlow; see `Network.logits`."""
        end, answers, logits = self._graph.end, [], []
        function = _with_logits(self._frozen, end.kind)
        for image in self._front.scaling.undone(images):
            found = function(_tensor(self._image.fed(image)))
            answers.append(np.asarray(found[0]).reshape(-1))
            logits.append(np.asarray(found[-1]).reshape(-1))
        given = np.stack(answers)  # without their logits if the last activation is written out, or there is none
        read = np.stack(logits) if len(found) > 1 else end.inverse_of(given)
        return checked_logits(end, read, given, str(self._folder))


def _left_out(signature: Signature) -> tuple[str, ...]:
    """Return a line about layers of augmentation, if there were any."""
    names = ", ".join(signature.augmentation)
    return (f"left out: {names}, augmentation, which the SavedModel still does",) if names else ()


def _frozen(folder: Path, signature: Signature, image: ImageInput) -> Frozen:
    """Return the function of a signature for an image of static size."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        with loadable(folder, signature.name) as copy:
            loaded = tf.saved_model.load(str(copy), tags=[TAG])
        function = loaded.signatures[signature.name]
    except Exception as error:  # whatever TensorFlow raises where files are missing, damaged, or too new
        raise SourceError(
            f"{folder} cannot be loaded by TensorFlow {tf.__version__} ({one_line(error)}): copy or save it again, or "
            "pass the model's Keras file"
        ) from error

    def answer(image: Any) -> Any:
        return function(**{signature.argument: image})[signature.result]

    given = tf.TensorSpec(image.shape, image.dtype, name="image")
    try:
        concrete = tf.function(answer, input_signature=[given], autograph=False).get_concrete_function()
        return _without_order(convert_variables_to_constants_v2(concrete))
    except Exception as error:
        size = f"{image.height}x{image.width}"
        raise SourceError(
            f"{folder} cannot take {size} images ({one_line(error)}): pass another --input-size"
        ) from error


def _converted(function: Any, folder: Path, labels: int | None) -> ForeignGraph:
    """Return what TFLiteConverter makes of a function of TensorFlow without variables."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        model = bytes(converter.convert())
    except Exception as error:
        unsupported = UNSUPPORTED.search(str(error))
        if unsupported is None:
            raise
        raise SourceError(
            f"{folder} needs operators that TFLite does not have ({unsupported[1].strip()}): leave out of the network "
            "what computes them"
        ) from error
    return read_foreign_graph(model, None, str(folder), labels)


def fold_tensorflow_front(function: Frozen, image: ImageInput) -> tuple[Any, GraphFront]:
    """Take off casts and what `graph_front.fold_front` does; return the tensor behind, and what was taken off.

    TFLiteConverter would move some of it into the first convolution, and nobody could say any more what that takes.
    """
    tensor, front = function.image, no_front(image.channels)
    while len(readers := [] if image.channels_first else tensor.consumers()) == 1 and len(readers[0].outputs) == 1:
        step = _step(function, readers[0], tensor, image.channels)
        if step is None:
            break
        tensor, front = readers[0].outputs[0], front.then(step)
    return tensor, front


def _step(function: Frozen, operation: Any, tensor: Any, channels: int) -> GraphFront | None:
    """Return what an operation of TensorFlow makes of each channel of a tensor; None if it does more."""
    (output,), name = operation.outputs, operation.name.rpartition("/")[2]
    if operation.type == "Identity" or (operation.type == "Cast" and output.dtype.is_floating):
        return no_front(channels, is_cast=not tensor.dtype.is_floating and output.dtype.is_floating)
    if output.shape != tensor.shape or not tensor.dtype.is_floating:
        return None
    others = [_constant(function, each) for each in operation.inputs if each.name != tensor.name]
    if any(values is None for values in others):
        return None
    if _reverses(operation, others):
        return reversal(channels, name)
    if operation.type not in ARITHMETIC or len(others) != 1:
        return None
    is_first = operation.inputs[0].name == tensor.name
    return affine(ARITHMETIC[operation.type], name, others[0], channels, is_first=is_first)


def _reverses(operation: Any, others: list[Any]) -> bool:
    """Return whether an operation takes the last of four axes from its end, and leaves all else as it is."""
    if operation.type == "ReverseV2":
        return [int(axis) % 4 for axis in others[0]] == [3]
    if operation.type != "StridedSlice" or others[2][-1] != -1 or not set(others[2][:-1].tolist()) <= {1}:
        return False
    return len(others[2]) == 4 or bool(operation.get_attr("ellipsis_mask"))


def _constant(function: Frozen, tensor: Any) -> Any:
    """Return the values of a tensor that no image changes, None of one that an image does."""
    from tensorflow.python.ops.op_selector import UnliftableError

    try:
        return np.asarray(function.between([], tensor)())
    except UnliftableError:
        return None


def _without_order(frozen: Any) -> Frozen:
    """Return a function without variables in a form in which operators wait for nothing but what they read.

    With its variables as constants nothing in it has a side effect. A function that starts behind the input could not
    be cut out otherwise: the constants wait for the input.
    """
    import tensorflow as tf

    graph = frozen.graph.as_graph_def()
    for node in graph.node:
        read = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(read)
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    ends = (imported.graph.get_tensor_by_name(end.name) for end in (frozen.inputs[0], frozen.outputs[0]))
    return Frozen(imported, *ends)


def _values(constant: Any) -> Array:
    from tensorflow import make_ndarray

    return np.asarray(make_ndarray(constant.get_attr("value")))


def _with_logits(frozen: Frozen, kind: str) -> Any:
    """Return a function of TensorFlow that answers as `frozen`, and what its last activation reads if that is `kind`.

    Without such an activation at the end the answers are all.
    """
    tensor = frozen.scores
    while tensor.op.type in SHAPING:
        tensor = tensor.op.inputs[0]
    if ACTIVATIONS.get(tensor.op.type) == kind:
        return frozen.between(frozen.image, [frozen.scores, tensor.op.inputs[0]])
    return frozen.between(frozen.image, [frozen.scores])


def _tensor(values: Array) -> Any:
    import tensorflow as tf

    return tf.constant(values)
