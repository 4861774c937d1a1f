"""Cross-layer equalization: the same function in float, whose channels fill the int8 range of their tensor more evenly.

A tensor has one int8 scale, so a channel whose largest value is a quarter of the tensor's loses two bits. A positive
factor of a channel passes through ReLU, pooling and concatenation, out of the kernel of one convolution and into that
of the next, and through a residual sum when both of its inputs have it (Nagel et al. 2019, "Data-Free Quantization
Through Weight Equalization and Bias Correction", arXiv:1906.04721, section 4.1). No factor passes through ReLU6 or
swish; but a convolution with one takes any factor of its input into its kernel.

    largest value of each channel -> channels that must share a factor -> factors -> kernels, biases, statistics
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from convert.quantization.statistics import ActivationStatistics
from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import CLASSIFIER_KINDS, CONVOLUTION, DEPTHWISE, POOLS, Operator
from edge_runtime.arrays import Array

INNER_STRENGTH, STREAM_STRENGTH = 1.0, 0.5
"""How far channels are equalized: 0 not at all, 1 to the same maximum. A residual stream has one factor per channel for
all the blocks it runs through, which cannot be the best for each of them."""
MOST_UNEVEN = 2.0**8
"""Channels whose maximum is further than this below their tensor's are not equalized fully: they are almost dead."""
KEEPING_CHANNELS = (
    *POOLS, "ABS", "LEAKY_RELU", "NEG", "PAD", "PRELU", "RELU", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
    "SLICE",
)  # fmt: skip
"""Kinds whose first input alone is computed, channel by channel and proportionally, if they keep their number."""
SUMS = ("ADD", "SUB")
"""Kinds that both inputs pass with the same factors."""
REDUCTIONS = ("MEAN", "SUM")
EQUIVARIANT = ("NONE", "RELU")
"""Fused activations f with f(a * x) = a * f(x) for every positive a."""


def equalize(
    float_model: bytes, statistics: ActivationStatistics
) -> tuple[bytes, ActivationStatistics, dict[str, Array]]:
    """Return a float network with equalized channels, the same up to rounding, and the statistics of its activations.

    With them comes what every activation is multiplied by, by tensor name, (channels,). The network is of static batch
    1, `statistics` are those of its activations before.
    """
    graph = TfliteGraph(float_model)
    groups, strengths = group_channels(graph)
    of_group = group_factors(graph, groups, strengths, statistics)
    factors = {tensor: of_group[own] for tensor, own in groups.items()}
    for operator in graph.operators:
        if _has_own_weights(graph, operator):
            _scale_weights(graph, operator, factors[operator.inputs[0]], factors[operator.outputs[0]])
    by_name = {graph.tensor_name(i): factor for i, factor in factors.items()}
    return graph.to_bytes(), statistics.scaled(by_name), by_name


def group_channels(graph: TfliteGraph) -> tuple[dict[int, Array], Array]:
    """Group the channels of all activations that must share a factor.

    Returns:
        Tensor -> the group of each of its channels; how far each group is equalized, 0 where its factor must stay 1.
    """
    ends = np.cumsum([graph.shape(i)[-1] for i in graph.activations])
    numbers = {i: np.arange(end - graph.shape(i)[-1], end) for i, end in zip(graph.activations, ends, strict=True)}
    count = int(ends[-1])
    pairs = [(numbers[a][part], numbers[b]) for a, part, b in _equal_channels(graph)]
    first, second = (np.concatenate([pair[side] for pair in pairs] or [np.zeros(0, int)]) for side in (0, 1))
    joined = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    total, group = connected_components(joined, directed=False)
    strengths = np.full(total, INNER_STRENGTH)
    for operator in graph.named("ADD"):
        strengths[group[numbers[operator.outputs[0]]]] = STREAM_STRENGTH
    for tensor in _pinned(graph):
        strengths[group[numbers[tensor]]] = 0
    return {tensor: group[own] for tensor, own in numbers.items()}, strengths


def group_factors(
    graph: TfliteGraph, groups: dict[int, Array], strengths: Array, statistics: ActivationStatistics
) -> Array:
    """Return the factor of each group, float64: its largest value to the power of minus its strength."""
    peak = np.zeros(len(strengths))
    for tensor, own in groups.items():
        name = graph.tensor_name(tensor)
        largest = np.maximum(-statistics.minimum[name], statistics.maximum[name])
        np.maximum.at(peak, own, np.maximum(largest, largest.max() / MOST_UNEVEN))
    return np.asarray(np.where(peak > 0, peak, 1.0) ** -strengths)


def _equal_channels(graph: TfliteGraph) -> Iterator[tuple[int, slice, int]]:
    """Yield (tensor, slice of its channels, another tensor whose channels have the same factors)."""
    for operator in graph.operators:
        if not _passes_through(graph, operator):
            continue
        start = 0
        for tensor in _passed(graph, operator):
            stop = start + graph.shape(tensor)[-1]
            yield operator.outputs[0], slice(start, stop), tensor
            start = stop if operator.name == "CONCATENATION" else 0


def _pinned(graph: TfliteGraph) -> Iterator[int]:
    """Yield inputs and outputs of the graph, and those of operators that no factor passes through or is taken into.

    So are the outputs of convolutions of one pixel, as dense layers are: each image gives one value of a channel, from
    which its largest cannot be told. Equalized, those that no image showed are clipped.
    """
    yield from graph.inputs
    yield from graph.outputs
    for operator in graph.operators:
        if operator.name == CONVOLUTION and graph.shape(operator.outputs[0])[1:3] == (1, 1):
            yield operator.outputs[0]
        free: tuple[int, ...] = ()
        if _passes_through(graph, operator):
            free = *_passed(graph, operator), *operator.outputs
        elif _has_own_weights(graph, operator):
            free = operator.inputs[0], *(operator.outputs if operator.fused_activation in EQUIVARIANT else ())
        ends = (i for i in (*operator.inputs, *operator.outputs) if i >= 0)
        yield from (i for i in ends if graph.is_activation(i) and i not in free)


def _passed(graph: TfliteGraph, operator: Operator) -> tuple[int, ...]:
    """Return the inputs whose factors an operator passes on, if it passes any: those of a product not its gate."""
    if operator.name in SUMS or operator.name == "CONCATENATION":
        return operator.inputs
    if operator.name == "MUL":
        return tuple(i for i in operator.inputs if graph.shape(i) == graph.shape(operator.outputs[0]))
    return operator.inputs[:1]


def _passes_through(graph: TfliteGraph, operator: Operator) -> bool:
    """Return whether a factor of an input channel becomes one of an output channel, and nothing else changes."""
    passed = _passed(graph, operator)
    if operator.fused_activation not in EQUIVARIANT or not all(graph.is_activation(i) for i in passed):
        return False
    rank = len(graph.shape(operator.inputs[0]))
    if operator.name in REDUCTIONS:
        return all(axis % rank != rank - 1 for axis in graph.constant(operator.inputs[1]).flat)
    if operator.name == "CONCATENATION":
        return bool(operator.options.axis % rank == rank - 1)
    if operator.name in SUMS:
        return len({graph.shape(i) for i in operator.inputs}) == 1
    if operator.name == "MUL":
        return len(passed) == 1
    kept = graph.shape(operator.inputs[0])[-1] == graph.shape(operator.outputs[0])[-1]
    return operator.name in KEEPING_CHANNELS and kept


def _has_own_weights(graph: TfliteGraph, operator: Operator) -> bool:
    """Return whether factors of the input, and of what comes before a fused activation, can go into the weights."""
    if operator.name not in CLASSIFIER_KINDS:
        return False
    constants = [i for i in operator.inputs[1:] if i >= 0]
    own = all(graph.is_constant(i) and len(graph.consumers(i)) == 1 for i in constants)
    channels = graph.shape(operator.inputs[0])[-1]
    grouped = operator.name != DEPTHWISE and graph.shape(operator.weights)[-1] != channels
    return own and not grouped and graph.is_activation(operator.inputs[0])


def _scale_weights(graph: TfliteGraph, operator: Operator, factor_in: Array, factor_out: Array) -> None:
    """Make an operator take an input multiplied by `factor_in`, and give an output multiplied by `factor_out`."""
    weights = graph.constant(operator.weights).astype(np.float64)
    if operator.name == DEPTHWISE:
        scaled = weights * (factor_out / np.repeat(factor_in, len(factor_out) // len(factor_in)))
    else:
        scaled = weights * factor_out.reshape(-1, *[1] * (weights.ndim - 1)) / factor_in
    graph.set_constant(operator.weights, scaled.astype(np.float32))
    if operator.bias is not None:
        graph.set_constant(operator.bias, (graph.constant(operator.bias) * factor_out).astype(np.float32))
