"""How a Keras network ends: recognized, and rewritten so that all behind it sees a softmax or independent sigmoids.

    softmax                  stays                                                         "softmax"
    logits, log-softmax      get a softmax                                                 "softmax"
    one sigmoid of z, or     becomes a softmax over two classes, equal to it:              "binary"
    z where there are two labels
                             softmax([-z / 2, z / 2]) = [1 - sigmoid(z), sigmoid(z)]
    several sigmoids         stay                                                          "independent"

Anything else is refused by its name. Layers that only pass values on, and nested models, may stand at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from convert.errors import SourceError
from convert.keras_models.walk import call_of, operation_names, unused_name
from edge_runtime.specs import BINARY, INDEPENDENT, SOFTMAX

PASS_THROUGH = {
    *("Flatten", "Identity", "Reshape", "Squeeze", "ExpandDims", "Ravel"),
    *("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization"),
}
"""Classes of Keras' layers and operations that change no value on the way to the answer."""
POOLS = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
"""They make class scores out of maps of class scores, and an embedding out of features."""
ACTIVATIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "LogSoftmax": "log_softmax"}
"""Classes of Keras' layers and operations that are an activation, and its name."""
ENDS = {"softmax", "sigmoid", "log_softmax", "linear"}
EMBEDDINGS = {"UnitNormalization", "Normalize", "LayerNormalization"}
LINEAR = "linear"


@dataclass(frozen=True)
class Headed:
    """A network of one image to (classes,) that ends in a softmax or in sigmoids, and how it ended before."""

    model: keras.Model
    head: str


def with_head(model: keras.Model, place: Path | str, labels: int | None = None) -> Headed:
    """Return the same layers as a plain graph of one tensor to one, see above; `head` is "binary" for one unit.

    `labels` is how many the user names: with two, one linear unit is a logit, as TensorFlow's tutorials end.

    Raises:
        SourceError: the model at `place` is no classifier: it has several outputs, or ends in something else.
    """
    if len(model.outputs) != 1:
        first, *others = model.output_names
        raise SourceError(
            f"{place} has {len(model.outputs)} outputs, {', '.join([first, *others])}: a classifier has one; for "
            f"{first} save keras.Model(model.input, model.outputs[0])"
        )
    output = model.outputs[0]
    classes = _classes(tuple(output.shape[1:]), place)
    activation = final_activation(output)
    is_logit = classes == 1 and activation == LINEAR and labels == 2
    _check_end("sigmoid" if is_logit else activation, classes, place)
    if is_logit:
        output, head = _probabilities(replace_end(output, _halves), 2), BINARY
    elif activation == "sigmoid" and classes == 1:
        output, head = _probabilities(replace_end(output, _two_classes), 2), BINARY
    elif activation == "sigmoid":
        output, head = _flat(output, classes), INDEPENDENT
    elif activation == "softmax":
        output, head = _flat(output, classes), SOFTMAX
    else:
        logits = output if activation == LINEAR else replace_end(output, _without_activation)
        output, head = _probabilities(logits, classes), SOFTMAX
    return Headed(keras.Model(model.inputs[0], output, name=model.name), head)


def _classes(shape: tuple[int | None, ...], place: Path | str) -> int:
    """Return the number of values at the end, of which all axes but the last must be 1."""
    if not shape or shape[-1] is None or any(side != 1 for side in shape[:-1]):
        raise SourceError(
            f"{place} has outputs of shape {shape}: a classifier has one number per class, (classes,); pass the "
            "network with the head that it was trained with"
        )
    return shape[-1]


def _check_end(activation: str, classes: int, place: Path | str) -> None:
    """Refuse what is not a classifier by what it ends in."""
    if classes == 1 and activation == LINEAR:
        raise SourceError(
            f"{place} ends in one linear unit, which is a regression or the logit of two classes: if it is that "
            "logit, pass --labels FILE with two names, the second for positive values"
        )
    if classes == 1 and activation != "sigmoid":
        raise SourceError(
            f"{place} has 1 class: a classifier of two ends in one sigmoid unit or in two units with a softmax"
        )
    if activation in ENDS:
        return
    kind, _, read = activation.partition(" of ")
    if kind in EMBEDDINGS or read:
        raise SourceError(
            f"{place} ends in {activation}, so its {classes} outputs are an embedding and not classes: pass the "
            "network with the classifier that was trained on them"
        )
    raise SourceError(
        f"{place} ends in {activation}: a classifier ends in a softmax, in sigmoids or in logits; pass the network "
        "with the end that it was trained with"
    )


def final_activation(tensor: Any) -> str:
    """Return the name of the activation, or else of the layer, that made `tensor`; "linear" for logits.

    A global pool of features is named with what it pools, such as "GlobalAveragePooling2D of relu".
    """
    operation, _, index = tensor._keras_history
    if isinstance(operation, keras.Model):
        return final_activation(operation.outputs[index])
    inputs, name = call_of(tensor).input_tensors, type(operation).__name__
    if _passes_on(operation):
        return final_activation(inputs[0])
    if isinstance(operation, POOLS):
        pooled = final_activation(inputs[0])
        return pooled if pooled == LINEAR else f"{name} of {pooled}"
    return _activation(operation, len(tensor.shape) - 1)


def _activation(operation: Any, last_axis: int) -> str:
    """Return the name of an operation's activation, which of a softmax must be over the last axis, or its own name."""
    name, activation = type(operation).__name__, getattr(operation, "activation", None)
    if name in ACTIVATIONS:
        axis = getattr(operation, "axis", -1)
        return ACTIVATIONS[name] if axis in (None, -1, last_axis) else f"{name} over axis {axis}"
    if activation is not None:
        return str(getattr(activation, "__name__", type(activation).__name__))
    # Anything else, such as the average of two softmaxes, may be probabilities already: a softmax would flatten them.
    return LINEAR if isinstance(operation, keras.layers.BatchNormalization) else name


def replace_end(tensor: Any, end: Callable[[Any], Any]) -> Any:
    """Return what `end` makes of the tensor behind `tensor` that only pass-through layers follow, in nested models too.

    Layers that pass values on are left out; all others are the network's own.
    """
    operation, _, index = tensor._keras_history
    inputs = call_of(tensor).input_tensors
    if isinstance(operation, keras.Model):
        inside = keras.Model(operation.inputs, replace_end(operation.outputs[index], end), name=operation.name)
        return inside(inputs if len(inputs) > 1 else inputs[0])
    return replace_end(inputs[0], end) if _passes_on(operation) else end(tensor)


def before_activation(tensor: Any) -> Any:
    """Return the symbolic tensor that is read by the softmax or the sigmoids behind `tensor`, however deeply nested.

    The network's own layers compute it: a copy of them could be wrong in the same way as what is compared with it.
    """
    return replace_end(tensor, _without_activation)


def _without_activation(tensor: Any) -> Any:
    """Return what an activation reads, or what a layer computes before its own."""
    operation, inputs = tensor._keras_history[0], call_of(tensor).input_tensors
    if _only_activates(operation):
        return inputs[0]
    return _copy(operation, operation.get_weights())(inputs[0])


def _two_classes(tensor: Any) -> Any:
    """Return the logits of two classes, (-z / 2, z / 2), for the sigmoid of one unit z."""
    operation = tensor._keras_history[0]
    return replace_end(call_of(tensor).input_tensors[0], _halves) if _only_activates(operation) else _halves(tensor)


def _halves(tensor: Any) -> Any:
    """Return (-z / 2, z / 2) for one unit z before its activation: of two units where one was, if it has weights."""
    operation, inputs = tensor._keras_history[0], call_of(tensor).input_tensors
    if type(operation) in (keras.layers.Dense, keras.layers.Conv2D):
        weights = [np.concatenate([-weight / 2, weight / 2], axis=-1) for weight in operation.get_weights()]
        return _copy(operation, weights, **{_units(operation): 2})(inputs[0])
    row = _flat(tensor, 1)
    halves = keras.layers.Dense(
        2, use_bias=False, dtype="float32", name=unused_name("two_classes", operation_names(row))
    )
    found = halves(row)
    halves.set_weights([np.array([[-0.5, 0.5]], np.float32)])
    return found


def _units(layer: Any) -> str:
    return "units" if isinstance(layer, keras.layers.Dense) else "filters"


def _copy(layer: Any, weights: list[Any], **changes: Any) -> Callable[[Any], Any]:
    """Return a layer like `layer`, with other weights and no activation."""
    copied = type(layer).from_config({**layer.get_config(), "activation": LINEAR, **changes})

    def call(inputs: Any) -> Any:
        output = copied(inputs)
        copied.set_weights(weights)
        return output

    return call


def _probabilities(logits: Any, classes: int) -> Any:
    row = _flat(logits, classes)
    return keras.layers.Softmax(dtype="float32", name=unused_name("probabilities", operation_names(row)))(row)


def _flat(tensor: Any, classes: int) -> Any:
    if len(tensor.shape) == 2:
        return tensor
    return keras.layers.Reshape((classes,), name=unused_name("flat", operation_names(tensor)))(tensor)


def _passes_on(operation: Any) -> bool:
    is_linear = getattr(operation, "activation", None) is keras.activations.linear
    return type(operation).__name__ in PASS_THROUGH or (isinstance(operation, keras.layers.Activation) and is_linear)


def _only_activates(operation: Any) -> bool:
    return type(operation).__name__ in ACTIVATIONS or isinstance(operation, keras.layers.Activation)
