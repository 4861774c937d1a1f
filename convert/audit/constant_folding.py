"""Multiplications and additions of a constant that weights and bias of an operator beside them could have absorbed."""

from __future__ import annotations

from convert.audit.operators import ClassifiedGraph, ClassifiedOperator
from convert.tflite.operators import DENSE

ARITHMETIC = ("MUL", "DIV", "ADD", "SUB")


def is_foldable(graph: ClassifiedGraph, operator: ClassifiedOperator) -> bool:
    """Return whether an operator with a constant can be folded into operators with weights before or after it."""
    return _folds_back(graph, operator) or _folds_forward(graph, operator)


def _has_constant(graph: ClassifiedGraph, operator: ClassifiedOperator) -> bool:
    """Return whether an operator multiplies by, or adds, a constant of one number or of one number per channel."""
    constants = [i for i in operator.inputs if i >= 0 and graph.is_constant(i)]
    if operator.name not in ARITHMETIC or len(constants) != 1 or len(operator.inputs) != 2:
        return False
    if operator.name == "DIV" and constants[0] == operator.inputs[0]:
        return False
    shape = graph.tflite.shape(graph.source(constants[0]))
    return all(n == 1 for n in shape[:-1])


def _folds_back(graph: ClassifiedGraph, operator: ClassifiedOperator) -> bool:
    """Return whether the operator before can absorb the constant: nothing else reads it, and it fuses no activation."""
    if not _has_constant(graph, operator):
        return False
    before = graph.producer(graph.activations(operator)[0])
    if before is None or len(graph.consumers(before.outputs[0])) != 1:
        return False
    return before.fused_activation == "NONE" and (before.stored_weights is not None or _folds_back(graph, before))


def _folds_forward(graph: ClassifiedGraph, operator: ClassifiedOperator, sums: bool = False) -> bool:
    """Return whether all operators after can absorb the constant; where a sum is involved, none of them may pad."""
    if not _has_constant(graph, operator) or operator.fused_activation != "NONE":
        return False
    consumers = graph.consumers(operator.outputs[0])
    sums = sums or operator.name in ("ADD", "SUB")
    return bool(consumers) and all(
        not (sums and _pads(consumer)) if consumer.stored_weights else _folds_forward(graph, consumer, sums)
        for consumer in consumers
    )


def _pads(operator: ClassifiedOperator) -> bool:
    return operator.name != DENSE and not operator.is_unpadded
