"""Walk over the graph of a functional Keras model, by the history that Keras keeps of every symbolic tensor.

Each symbolic tensor knows the call that made it: the operation (a layer, a nested model or a function of `keras.ops`),
the number of the call, since layers can be shared, and the number of the output.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import keras


def calls(output: Any) -> Iterator[Any]:
    """Yield the calls that compute the tensor `output`, as Keras' nodes with `operation` and `input_tensors`.

    Each comes after the calls that compute its inputs, in the order of these inputs. (`model.layers` sorts by depth,
    which mixes parallel branches.) A nested model is one call.
    """
    done: set[int] = set()
    pending = [(output, False)]
    while pending:
        tensor, is_ready = pending.pop()
        node = call_of(tensor)
        if id(node) in done:
            continue
        if is_ready or not node.input_tensors:
            done.add(id(node))
            yield node
        else:
            pending.append((tensor, True))
            pending += [(source, False) for source in reversed(node.input_tensors)]


def operation_names(*outputs: Any) -> set[str]:
    """Return the names of all operations that tensors are computed by; what is inside a nested model is its own."""
    return {node.operation.name for output in outputs for node in calls(output)}


def unused_name(name: str, taken: Collection[str]) -> str:
    """Return `name`, with a number behind it if it is taken: a Keras model may have each name but once."""
    numbered = (f"{name}_{number}" for number in range(2, len(taken) + 3))
    return next(each for each in (name, *numbered) if each not in taken)


def flat_layers(model: keras.Model) -> list[Any]:
    """Return all layers of `model`, those of a nested model in place of the model."""
    return [
        layer for child in model.layers for layer in (flat_layers(child) if isinstance(child, keras.Model) else [child])
    ]


def call_of(tensor: Any) -> Any:
    """Return the call that made a symbolic tensor."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]
