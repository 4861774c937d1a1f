"""Float `.tflite` + ranges + images -> the same network, whose convolutions also undo the noise of those before them.

A convolution of the quantized network does not read x, as in float, but y: with the rounding, clipping and drift of
all layers before. Its weights W are replaced by those that come closest to W x when they read y (asymmetric
reconstruction: Nagel et al. 2020, "AdaRound", arXiv:2004.10568, section 3.2; Li et al. 2025, "GPTAQ", arXiv:2504.02692)

    target T = W + E[e y^T] (E[y y^T] + damping)^-1, e = W (x - y), rounded by `gptq` with E[y y^T],

all moments about the means; the means themselves are set right by the bias (empirical bias correction: Nagel et al.
2019, arXiv:1906.04721, section 4.2). Both networks are computed over all images piece by piece, so that each
convolution sees what those before it were changed to, and each operator is run once.
"""

from __future__ import annotations

import functools
import operator as operators
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from convert.errors import QuantizationError
from convert.quantization import schemes
from convert.quantization.gptq import LEAST_PEAK, STEPS, rounded
from convert.quantization.joint_moments import JointMoments, stacked_rows, stacked_weights, target, unstacked_weights
from convert.quantization.quantize import quantize
from convert.quantization.second_moments import Window, depthwise_windows, windows
from convert.quantization.statistics import ActivationStatistics
from convert.system.progress import Progress
from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import Operator
from convert.tflite.piecewise import Piecewise
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize

MOST_IMAGES = 50
"""The largest number of images used."""
POSITIONS = 64
"""The largest number of random positions that are read in an image."""
PARTS = 4
"""Into how many sums the images are divided, one a thread; fixed, because a sum shows in which order it was made."""
FREE = (-np.inf, np.inf)
ACTIVATION_LIMITS = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
"""Fused activation -> what it clips to; others are functions that follow as operators."""
NEWTON_STEPS = 5
LEAST_INSIDE, LEAST_SLOPE = 0.02, 0.1
"""The fraction of unclipped outputs below which a channel is left alone, and the smallest one that is divided by."""


@dataclass(frozen=True)
class Layer:
    """Convolutions that read the same window, of which a depthwise one is alone."""

    window: Window
    readers: Sequence[Operator]
    depthwise: bool

    @property
    def outputs(self) -> list[int]:
        """Return the tensors that they compute."""
        return [reader.outputs[0] for reader in self.readers]


def reconstruct(
    float_model: bytes, statistics: ActivationStatistics, images: Sequence[Pixels], spec: InputSpec, progress: Progress
) -> bytes:
    """Fit weights and biases of all ungrouped and depthwise convolutions to what they read in int8.

    The weights come to lie on their integer steps, and stay float32; everything else remains as it is. `statistics`
    hold the ranges that the network is going to be quantized with. The same result on any number of cores.

    Raises:
        QuantizationError: there is no image, or an activation is not finite.
    """
    images = images[:MOST_IMAGES]
    if not images:
        raise QuantizationError("no calibration image: pass --calibration with a folder of at least one readable image")
    graph = TfliteGraph(float_model)
    layers = [Layer(window, readers, False) for window, readers in windows(graph).items()]
    layers += [Layer(window, [reader], True) for window, reader in depthwise_windows(graph)]

    def fitting() -> Iterator[None]:
        recipe = schemes.Recipe(schemes.DEFAULT, "float32")
        quantized = TfliteGraph(quantize(float_model, recipe, spec, statistics).model)
        tensors = [normalize(pixels, spec) for pixels in images]
        exact, noisy = (Piecewise(each, tensors) for each in (TfliteGraph(float_model), quantized))
        in_quantized = _Counterparts(graph, quantized)
        waiting = [layer for layer in layers if all(map(in_quantized.has, layer.outputs))]
        threads = len(os.sched_getaffinity(0))
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as cores:
            while waiting:
                held = [tensor for layer in waiting for tensor in layer.outputs]
                exact.advance(held)
                noisy.advance([in_quantized.tensor(i) for i in held])
                ready = [layer for layer in waiting if exact.knows(layer.window.tensor)]
                for layer in ready:
                    _fit(graph, in_quantized, layer, exact, noisy, len(images), cores)
                    yield
                if not ready:  # what is left reads nothing that depends on the image
                    break
                waiting = [layer for layer in waiting if layer not in ready]

    for _ in progress.track(fitting(), "fitting weights", len(layers)):
        pass
    return graph.to_bytes()


class _Counterparts:
    """The operators and tensors of a quantized graph that belong to those of a float one, by name."""

    def __init__(self, graph: TfliteGraph, quantized: TfliteGraph) -> None:
        self._graph, self.quantized = graph, quantized
        self._tensors = {quantized.tensor_name(i): i for i in quantized.tensors}

    def has(self, index: int) -> bool:
        """Return whether there is one for a tensor."""
        return self._graph.tensor_name(index) in self._tensors

    def tensor(self, index: int) -> int:
        """Return what is computed in place of a tensor."""
        return self._tensors[self._graph.tensor_name(index)]

    def operator(self, operator: Operator) -> Operator:
        """Return what computes its output."""
        found = self.quantized.producer(self.tensor(operator.outputs[0]))
        assert found is not None
        return found


def _fit(
    graph: TfliteGraph,
    counterparts: _Counterparts,
    layer: Layer,
    exact: Piecewise,
    noisy: Piecewise,
    images: int,
    cores: Executor,
) -> None:
    """Fit the convolutions of a layer, in the float graph and in the quantized one."""
    tensors = [reader.weights for reader in layer.readers]
    parts = [stacked_weights(graph.constant(i), depthwise=layer.depthwise) for i in tensors]
    weights = np.concatenate(parts, axis=1)
    source = counterparts.operator(layer.readers[0]).inputs[0]
    is_input = layer.window.tensor in graph.inputs
    places = layer.window.output[0] * layer.window.output[1]

    biases = [_bias(graph, reader) for reader in layer.readers]
    bias = np.concatenate(biases).reshape(weights.shape[:2])
    noisy_rows: dict[int, Array] = {}
    exact_outputs: dict[int, Array] = {}

    def moments(part: int) -> JointMoments:
        rows: tuple[list[Array], list[Array]] = ([], [])
        for image in range(part, images, PARTS):
            positions = np.random.default_rng((layer.readers[0].position, image)).permutation(places)[:POSITIONS]
            x = exact.values(layer.window.tensor, image)
            y = noisy.values(source, image)
            for values, kept in zip((x, y), rows, strict=True):
                kept.append(stacked_rows(values, layer.window, positions, depthwise=layer.depthwise))
        x, y = (np.concatenate(kept, axis=1) for kept in rows)
        noisy_rows[part], exact_outputs[part] = y, x @ weights.transpose(0, 2, 1)
        return JointMoments.of_rows(weights, x, y)

    numbers = range(min(PARTS, images))
    found = functools.reduce(operators.add, cores.map(moments, numbers))
    y, e, yy, ey = found.central()
    wanted = weights if is_input else target(weights, yy, ey)
    fitted = np.stack(list(cores.map(_rounded, wanted, yy)))
    shift = e + np.einsum("gok,gk->go", weights - fitted, y)
    if not is_input:
        outputs = cores.map(lambda part: noisy_rows[part] @ fitted.transpose(0, 2, 1), numbers)
        q, z = (np.concatenate(list(rows), axis=1) for rows in (outputs, map(exact_outputs.__getitem__, numbers)))
        columns = [bias[:, np.newaxis] for bias in biases]
        activations = [ACTIVATION_LIMITS.get(reader.fused_activation, FREE) for reader in layer.readers]
        ranges = [
            _int8_range(counterparts.quantized, counterparts.tensor(reader.outputs[0])) for reader in layer.readers
        ]
        of_exact, of_noisy = (
            tuple(
                np.concatenate(
                    [np.full_like(column, pair[side]) for column, pair in zip(columns, pairs, strict=True)]
                ).reshape(bias.shape)[:, np.newaxis]
                for side in (0, 1)
            )
            for pairs in (activations, ranges)
        )
        offset = bias[:, np.newaxis]
        shift = equal_means(z + offset, q + offset, of_exact, of_noisy, shift)
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    removed = e if is_input else np.zeros_like(e)
    pieces = zip(layer.readers, *(np.split(each, ends, axis=1) for each in (fitted, shift, removed)), strict=True)
    for reader, own, own_shift, own_removed in pieces:
        _write(graph, counterparts, reader, own, own_shift.reshape(-1), own_removed.reshape(-1), layer.depthwise)


def _rounded(weights: Array, moments: Array) -> Array:
    """Round the weights (out, K) of one group."""
    return rounded(weights[:, np.newaxis, np.newaxis], np.asarray(moments, np.float32))[:, 0, 0]


def _bias(graph: TfliteGraph, reader: Operator) -> Array:
    """Return the bias of a convolution, (out,); zeros if it has none."""
    if reader.bias is not None and graph.is_constant(reader.bias):
        return graph.constant(reader.bias)
    return np.zeros(graph.shape(reader.outputs[0])[-1], np.float32)


def _int8_range(quantized: TfliteGraph, tensor: int) -> tuple[float, float]:
    """Return the values between which a tensor of the quantized network is clipped."""
    quantization = quantized.quantization(tensor)
    if quantization is None or quantized.dtype(tensor) != "int8":
        return -np.inf, np.inf
    scale, zero_point = quantization
    return (-128 - zero_point) * scale, (127 - zero_point) * scale


def equal_means(
    exact: Array, noisy: Array, exact_limits: tuple[Array, ...], noisy_limits: tuple[Array, ...], shift: Array
) -> Array:
    """Return what to add to outputs `noisy` for their mean after clipping to be that of `exact` after clipping.

    Noise before a ReLU raises the mean behind it, so equal means before it are not enough: what pooling averages over
    an image is the error of the mean. By Newton's method; a channel that is almost always clipped keeps `shift`.

    Args:
        exact, noisy: (groups, n, out), of n positions.
        exact_limits, noisy_limits: the smallest and the largest value of each output, (groups, 1, out).
        shift: where to begin, (groups, out).
    """
    wanted = np.clip(exact, *exact_limits).mean(axis=1)
    for _ in range(NEWTON_STEPS):
        moved = noisy + shift[:, np.newaxis].astype(np.float32)
        inside = ((moved > noisy_limits[0]) & (moved < noisy_limits[1])).mean(axis=1)
        missing = wanted - np.clip(moved, *noisy_limits).mean(axis=1)
        shift = shift + np.where(inside > LEAST_INSIDE, missing / np.maximum(inside, LEAST_SLOPE), 0)
    return shift


def _write(
    graph: TfliteGraph,
    counterparts: _Counterparts,
    reader: Operator,
    fitted: Array,
    shift: Array,
    input_shift: Array,
    depthwise: bool,
) -> None:
    """Put new weights, and what is added to the bias, into both graphs."""
    values = unstacked_weights(fitted, graph.shape(reader.weights), depthwise=depthwise)
    graph.set_constant(reader.weights, values)
    own_bias = reader.bias is not None and graph.is_constant(reader.bias) and len(graph.consumers(reader.bias)) == 1
    if own_bias:
        graph.set_constant(reader.inputs[2], (_bias(graph, reader) + shift - input_shift).astype(np.float32))
    quantized, other = counterparts.quantized, counterparts.operator(reader)
    if quantized.dtype(other.weights) != "int8":
        quantized.set_constant(other.weights, values)
        if other.bias is not None and own_bias:
            quantized.set_constant(other.bias, _bias(graph, reader))
        return
    axes = tuple(axis for axis in range(values.ndim) if axis != reader.channel_axis)
    scales = np.maximum(np.abs(values).max(axis=axes), np.float32(LEAST_PEAK)) / np.float32(STEPS)
    shape = [1] * values.ndim
    shape[reader.channel_axis] = -1
    quantized.set_constant(other.weights, np.rint(values / scales.reshape(shape)).astype(np.int8))
    quantized.set_scales(other.weights, scales)
    if own_bias:
        source = quantized.quantization(other.inputs[0])
        assert source is not None
        assert other.bias is not None
        step = scales.astype(np.float64) * source[0]
        bias = _bias(graph, reader) + input_shift
        limits = np.iinfo(np.int32)
        quantized.set_constant(other.bias, np.clip(np.rint(bias / step), limits.min, limits.max).astype(np.int32))
        quantized.set_scales(other.bias, step.astype(np.float32))
