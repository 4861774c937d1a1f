"""The end of a foreign graph: which activation makes class scores of which tensor, and the same end in our own form.

Softmax, its logarithm, a softmax written out, one sigmoid, several, or none: behind the rewrite every graph ends in one
SOFTMAX or LOGISTIC of shape (1, classes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from convert.errors import SourceError
from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import ARITHMETIC, CONVOLUTIONS, DENSE, POOLS, Operator
from convert.tflite.rewriting import GraphEditor
from edge_runtime.arrays import Array

SOFTMAX, LOG_SOFTMAX, SIGMOID, LOGITS = "SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "logits"
SHAPING = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE")
"""Kinds that leave a row of numbers a row: all of them, where there is but one axis of more than one number."""


@dataclass(frozen=True)
class GraphEnd:
    """How a graph ends: a kind of the above, and the tensor of `classes` numbers that its activation reads."""

    kind: str
    logits: int
    classes: int

    @property
    def head(self) -> str:
        """Return the head of the network, see `convert.lowering.lower.LoweredModel`."""
        if self.classes == 1:  # a sigmoid, or its logit
            return "binary"
        return "independent" if self.kind == SIGMOID else "softmax"

    def logits_of(self, values: Array) -> Array:
        """Return the logits (images, classes) of the rewritten graph, given those of the graph as it was."""
        rows = values.reshape(len(values), -1).astype(np.float32)
        return np.concatenate([np.zeros_like(rows), rows], axis=1) if self.head == "binary" else rows

    def answers_of(self, logits: Array) -> Array:
        """Return what the graph as it was answers, float64 (images, classes), given those logits."""
        z = np.asarray(logits, np.float64)
        z = z[:, -1:] if self.head == "binary" else z
        if self.kind == LOGITS:
            return z
        if self.kind == SIGMOID:
            return np.asarray(0.5 + 0.5 * np.tanh(z / 2))
        logarithms = z - z.max(axis=1, keepdims=True)
        logarithms -= np.log(np.exp(logarithms).sum(axis=1, keepdims=True))
        return np.asarray(logarithms if self.kind == LOG_SOFTMAX else np.exp(logarithms))

    def inverse_of(self, answers: Array) -> Array:
        """Return what the activation read, as far as the answers (images, numbers) of the graph as it was tell."""
        if self.kind in (LOGITS, LOG_SOFTMAX):
            return answers
        there = np.maximum(np.asarray(answers, np.float64), np.finfo(np.float32).tiny)
        if self.kind == SOFTMAX:
            return np.asarray(np.log(there))
        return np.asarray(np.log(there) - np.log(np.maximum(1 - there, np.finfo(np.float32).epsneg)))


def find_end(graph: TfliteGraph, name: str, labels: int | None = None) -> GraphEnd:
    """Return how a graph of static shapes ends; a `SourceError` that begins with `name` if it has no class scores.

    `labels` is how many the user names: with two, one number without an activation is a logit.
    """
    (output,) = graph.outputs
    if len(_long_axes(graph, output)) > 1:
        raise SourceError(
            f"{name} has outputs of shape {graph.shape(output)}: a classifier has one number per class, (1, classes)"
        )
    kind, logits = _activation(graph, _before_shaping(graph, output), name)
    end = GraphEnd(kind, logits, prod(graph.shape(logits)))
    if end.classes < 2 and end.kind == LOGITS and labels != 2:
        raise SourceError(
            f"{name} ends in one number without an activation, which is a regression or the logit of two classes: if "
            "it is that logit, pass --labels FILE with two names, the second for positive values"
        )
    if end.classes < 2 and end.kind not in (SIGMOID, LOGITS):
        raise SourceError(f"{name} has {end.classes} class: a classifier has at least 2, or ends in one sigmoid")
    return end


def rewrite_end(graph: GraphEditor, end: GraphEnd) -> int:
    """Put our own end in the place of a graph's own, and return the tensor of its probabilities, (1, classes)."""
    logits = _two_classes(graph, end.logits) if end.head == "binary" else _row(graph, end.logits)
    if end.head == "independent":
        return graph.add_operator("LOGISTIC", [logits], graph.shape(logits), "probabilities")
    return graph.add_operator("SOFTMAX", [logits], graph.shape(logits), "probabilities", beta=1.0)


def _row(graph: GraphEditor, tensor: int) -> int:
    """Return the numbers of a tensor in the shape (1, numbers)."""
    shape = 1, prod(graph.shape(tensor))
    if graph.shape(tensor) == shape:
        return tensor
    wanted = graph.add_constant("logits/shape", np.array(shape, np.int32))
    return graph.add_operator("RESHAPE", [tensor, wanted], shape, "logits", newShape=np.array(shape, np.int32))


def _two_classes(graph: GraphEditor, tensor: int) -> int:
    """Return (0, z) for a tensor that holds one number z: softmax((0, z)) has the probability sigmoid(z) second.

    The dense operator that computes z gets a first row of zeros; behind any other, there is a dense operator more.
    """
    source = graph.producer(tensor)
    if source is None or not _is_own_dense(graph, source):
        weights = graph.add_constant("two_classes/kernel", np.array([[0], [1]], np.float32))
        bias = graph.add_constant("two_classes/bias", np.zeros(2, np.float32))
        return graph.add_operator(DENSE, [_row(graph, tensor), weights, bias], (1, 2), "two_classes")
    kernel = graph.constant(source.weights)
    given = np.zeros(1, np.float32) if source.bias is None else graph.constant(source.bias)
    weights = graph.add_constant("two_classes/kernel", np.concatenate([np.zeros_like(kernel), kernel]))
    bias = graph.add_constant("two_classes/bias", np.array([0, *given], np.float32))
    return graph.add_operator(DENSE, [source.inputs[0], weights, bias], (1, 2), "two_classes", position=source.position)


def _is_own_dense(graph: TfliteGraph, operator: Operator) -> bool:
    """Return whether an operator is dense with constant weights, reads a row, and computes its numbers unchanged."""
    return (
        operator.name == DENSE
        and operator.fused_activation == "NONE"
        and graph.is_constant(operator.weights)
        and (operator.bias is None or graph.is_constant(operator.bias))
        and graph.shape(operator.inputs[0]) == (1, graph.shape(operator.weights)[1])
    )


def _activation(graph: TfliteGraph, tensor: int, name: str) -> tuple[str, int]:
    """Return the kind of the activation that computes a tensor, and what it reads."""
    operator = graph.producer(tensor)
    kind = "its input" if operator is None else operator.custom or operator.name
    if operator is not None and _is_softmax(graph, operator):
        return kind, operator.inputs[0]
    if operator is not None and kind == SIGMOID:
        return kind, operator.inputs[0]
    written_out = None if operator is None else _softmax_written_out(graph, operator)
    if written_out is not None:
        return SOFTMAX, written_out
    if _is_linear(graph, tensor):
        return LOGITS, tensor
    raise SourceError(
        f"{name} ends in {kind}, which gives no class scores: an image classifier ends in a softmax, a sigmoid or "
        "logits; convert it from before that operator"
    )


def _is_softmax(graph: TfliteGraph, operator: Operator) -> bool:
    """Return whether an operator is a softmax, or the logarithm of one, over all numbers of its input."""
    numbers = graph.shape(operator.inputs[0]) if operator.inputs else ()
    if not numbers or numbers[-1] != prod(numbers):
        return False
    return operator.name == LOG_SOFTMAX or (operator.name == SOFTMAX and operator.options.beta == 1.0)


def _softmax_written_out(graph: TfliteGraph, quotient: Operator) -> int | None:
    """Return z of exp(z - max(z)) / sum(exp(z - max(z))) over all numbers, with the maximum or without; else None."""
    if quotient.name != "DIV":
        return None
    power, total = (graph.producer(i) for i in quotient.inputs)
    if power is None or power.name != "EXP" or not _reduces(graph, total, "SUM", power.outputs[0]):
        return None
    shifted = graph.producer(power.inputs[0])
    if shifted is not None and shifted.name == "SUB":
        logits, most = shifted.inputs
        if _reduces(graph, graph.producer(most), "REDUCE_MAX", logits):
            return logits
    return power.inputs[0]


def _reduces(graph: TfliteGraph, operator: Operator | None, kind: str, tensor: int) -> bool:
    """Return whether an operator is of a kind and makes one number of all of a tensor."""
    if operator is None or operator.name != kind or operator.inputs[0] != tensor:
        return False
    return prod(graph.shape(operator.outputs[0])) == 1


def _is_linear(graph: TfliteGraph, tensor: int) -> bool:
    """Return whether a tensor is what logits are: a dense operator's or a convolution's, shifted, scaled, averaged."""
    operator = graph.producer(tensor)
    if operator is None or operator.fused_activation != "NONE":
        return False
    if operator.name in (DENSE, *CONVOLUTIONS, "BATCH_MATMUL"):
        return True
    if operator.name in ("MEAN", POOLS[1], *SHAPING):
        return _is_linear(graph, operator.inputs[0])
    if operator.name not in ARITHMETIC:
        return False
    variable = [i for i in operator.inputs if not graph.is_constant(i)]
    return len(variable) == 1 and _is_linear(graph, variable[0])


def _before_shaping(graph: TfliteGraph, tensor: int) -> int:
    """Return the tensor before all operators that only give its numbers another shape."""
    for operator in _producers(graph, tensor):
        if operator.name not in SHAPING or len(_long_axes(graph, operator.inputs[0])) > 1:
            break
        tensor = operator.inputs[0]
    return tensor


def _producers(graph: TfliteGraph, tensor: int) -> Iterator[Operator]:
    """Yield the operator that computes a tensor, the one that computes its first input, and so on."""
    operator = graph.producer(tensor)
    while operator is not None:
        yield operator
        operator = graph.producer(operator.inputs[0]) if operator.inputs else None


def _long_axes(graph: TfliteGraph, tensor: int) -> list[int]:
    """Return the sizes of a tensor's axes that are not 1."""
    return [size for size in graph.shape(tensor) if size != 1]
