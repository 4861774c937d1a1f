"""Walk over the graph of a functional Keras model, by the history that Keras keeps of every symbolic tensor.

Each symbolic tensor knows the call that made it: the operation (a layer, a nested model or a function of `keras.ops`),
the number of the call, since layers can be shared, and the number of the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

PASS_THROUGH = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.Dropout, keras.layers.Identity)
LOGITS = (keras.layers.BatchNormalization, keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
"""Layers without an activation that a network of logits can end in; Dense and Conv2D name theirs: linear."""


def calls(output: Any) -> Iterator[Any]:
    """Yield the calls that compute the tensor `output`, as Keras' nodes with `operation` and `input_tensors`.

    Each comes after the calls that compute its inputs, in the order of these inputs. (`model.layers` sorts by depth,
    which mixes parallel branches.) A nested model is one call.
    """
    done: set[int] = set()
    pending = [(output, False)]
    while pending:
        tensor, is_ready = pending.pop()
        node = _call(tensor)
        if id(node) in done:
            continue
        if is_ready or not node.input_tensors:
            done.add(id(node))
            yield node
        else:
            pending.append((tensor, True))
            pending += [(source, False) for source in reversed(node.input_tensors)]


def flat_layers(model: keras.Model) -> list[Any]:
    """Return all layers of `model`, those of a nested model in place of the model."""
    return [
        layer for child in model.layers for layer in (flat_layers(child) if isinstance(child, keras.Model) else [child])
    ]


def final_activation(tensor: Any) -> str:
    """Return the name of the activation, or else of the layer, that made `tensor`; "linear" for logits."""
    operation, _, index = tensor._keras_history
    if isinstance(operation, keras.Model):
        return final_activation(operation.outputs[index])
    activation = getattr(operation, "activation", None)
    if isinstance(operation, PASS_THROUGH) or (
        isinstance(operation, keras.layers.Activation) and activation is keras.activations.linear
    ):
        return final_activation(_call(tensor).input_tensors[0])
    if activation is not None:
        return str(getattr(activation, "__name__", type(activation).__name__))
    if isinstance(operation, LOGITS):
        return "linear"
    # The activation is a layer or an operation of its own. Anything else, such as the average of two softmaxes,
    # may be probabilities already, and a second softmax would flatten them.
    name = type(operation).__name__
    return "softmax" if name == "Softmax" else name


def before_softmax(tensor: Any) -> Any:
    """Return the symbolic tensor that is read by the softmax behind `tensor`, however deeply nested.

    The network's own layers compute it: a copy of them could be wrong in the same way as what is compared with it.
    """
    operation, _, index = tensor._keras_history
    inputs = _call(tensor).input_tensors
    if isinstance(operation, keras.Model):
        inside = keras.Model(operation.inputs, before_softmax(operation.outputs[index]))
        return inside(inputs if len(inputs) > 1 else inputs[0])
    if type(operation).__name__ == "Softmax":  # the layer, or the operation of the same name
        return inputs[0]
    if getattr(operation, "activation", None) is keras.activations.softmax:
        linear = type(operation).from_config({**operation.get_config(), "activation": "linear"})
        logits = linear(inputs[0])
        linear.set_weights(operation.get_weights())
        return logits
    return before_softmax(inputs[0])  # a reshape, or a dropout, of the probabilities


def _call(tensor: Any) -> Any:
    """Return the call that made a symbolic tensor."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]
