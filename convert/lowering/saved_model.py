"""A SavedModel folder as a network to convert: its graph as it is, whatever made it. Runs in the worker."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import SourceError
from convert.keras_models.sources import ModelSource
from convert.lowering.foreign_graph import ForeignGraph, image_input, read_foreign
from convert.lowering.graph_front import composed
from convert.lowering.reference import checked_logits
from convert.lowering.saved_model_graph import Signature, read_signature
from convert.system.content import content_sha256
from edge_runtime import InputSpec
from edge_runtime.arrays import Array

ACTIVATIONS = {"Softmax": "SOFTMAX", "LogSoftmax": "LOG_SOFTMAX", "Sigmoid": "LOGISTIC"}
"""TensorFlow's operators -> those of TFLite, see `convert.lowering.graph_ends`."""
SHAPING = ("Identity", "Reshape", "Squeeze", "ExpandDims")
UNSUPPORTED = re.compile(r"(?:TF Select|Custom) ops: ([^\n]+)")


class SavedModelNetwork:
    """A SavedModel of TensorFlow 2; its answers are those of TensorFlow for its signature."""

    def __init__(self, source: ModelSource) -> None:
        source.check()
        self._folder, self._source, self.labels = Path(source.model), source, None
        self._signature: Signature = read_signature(self._folder)
        signature = self._signature
        self._image = image_input(signature.shape, signature.dtype, source.input_size, str(self._folder))
        self.architecture = f"SavedModel of TensorFlow {signature.version}"
        self.recognized = f"{self._folder.name}: {self.architecture}, signature {signature.name}"
        self.weights_sha256 = content_sha256(self._folder)
        self.slow_layers = (f"{self._folder.name}: a SavedModel is a graph without layers",)

    @property
    def head(self) -> str:
        """Return the head that the graph ends in; see `LoweredModel`."""
        return self._graph.end.head

    @property
    def classes(self) -> int:
        """Return the number of probabilities."""
        return self._graph.classes

    @property
    def front(self) -> tuple[str, ...]:
        """Return what was folded in front of the graph."""
        return self._graph.front.folded

    def spec(self, preprocessing: str | None) -> InputSpec:
        """Return how images are prepared; see `Network.spec`."""
        return composed(self._graph.front, preprocessing, (self._image.height, self._image.width), self._folder)

    def to_tflite(self, scratch: Path, report: Callable[[str], object]) -> bytes:
        """Return what TFLiteConverter makes of the graph, in the form of ours; see `Network.to_tflite`."""
        return self._graph.model

    def logits(self, images: Array) -> Array:
        """Return the answers of TensorFlow; see `Network.logits`."""
        end = self._graph.end
        answers_and_logits = _with_logits(self._frozen, end.kind)
        answers, logits = [], []
        for image in images:
            found = answers_and_logits(_tensor(self._image.fed(self._graph.front.before(image))))
            answers.append(np.asarray(found[0]).reshape(-1))
            logits.append(np.asarray(found[-1]).reshape(-1))
        given = np.stack(answers)
        if len(found) == 1 and end.kind in ACTIVATIONS.values():
            return end.logits_of(end.inverse_of(given))
        return checked_logits(end, np.stack(logits), given, str(self._folder))

    @cached_property
    def _concrete(self) -> Any:
        """The signature as a function of TensorFlow for one image of static size; what it uses lives as long."""
        import tensorflow as tf

        try:
            loaded = tf.saved_model.load(str(self._folder), tags=["serve"])
            signature = loaded.signatures[self._signature.name]
        except Exception as error:  # whatever TensorFlow raises where files are missing, damaged, or too new
            raise SourceError(f"{self._folder} cannot be loaded by TensorFlow {tf.__version__} ({_line(error)})") from error
        given, result = self._signature.argument, self._signature.result

        @tf.function(input_signature=[tf.TensorSpec(self._image.shape, self._image.dtype, name="image")], autograph=False)  # type: ignore[untyped-decorator]
        def answer(image: Any) -> Any:
            return {"probabilities": signature(**{given: image})[result]}

        answer.network = loaded  # variables live no longer than what loaded them
        try:
            return answer, answer.get_concrete_function()
        except Exception as error:
            size = f"{self._image.height}x{self._image.width}"
            raise SourceError(f"{self._folder} cannot take {size} images ({_line(error)})") from error

    @cached_property
    def _graph(self) -> ForeignGraph:
        """What TFLiteConverter makes of the signature."""
        import tensorflow as tf

        answer, concrete = self._concrete
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], answer.network)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            model = bytes(converter.convert())
        except Exception as error:
            unsupported = UNSUPPORTED.search(str(error))
            if unsupported is None:
                raise
            raise SourceError(
                f"{self._folder} needs operators that TFLite does not have ({unsupported[1].strip()}): leave out of "
                "the network what computes them"
            ) from error
        return read_foreign(model, None, str(self._folder))

    @cached_property
    def _frozen(self) -> Any:
        """The signature's function with its variables as constants, and all that it calls inside it."""
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        return convert_variables_to_constants_v2(self._concrete[1])


def _with_logits(frozen: Any, kind: str) -> Any:
    """Return a function of TensorFlow that answers as `frozen`, and what its last activation reads if that is `kind`.

    Without such an activation at the end the answers are all.
    """
    tensor = frozen.outputs[0]
    while tensor.op.type in SHAPING:
        tensor = tensor.op.inputs[0]
    if ACTIVATIONS.get(tensor.op.type) == kind:
        return frozen.prune(frozen.inputs[0], [frozen.outputs[0], tensor.op.inputs[0]])
    return frozen.prune(frozen.inputs[0], [frozen.outputs[0]])


def _tensor(values: Array) -> Any:
    import tensorflow as tf

    return tf.constant(values)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
