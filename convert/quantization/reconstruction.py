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

import operator as operators
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial, reduce

import numpy as np
from threadpoolctl import threadpool_limits

from convert.errors import QuantizationError
from convert.quantization import schemes
from convert.quantization.bias_range import least_scales
from convert.quantization.equal_means import Limits, equal_means
from convert.quantization.gptq import LEAST_PEAK, STEPS, feedback_of, rounded
from convert.quantization.joint_moments import JointMoments, stacked_rows, stacked_weights, target, unstacked_weights
from convert.quantization.quantize import quantize
from convert.quantization.second_moments import Window, depthwise_windows, windows
from convert.quantization.statistics import ActivationStatistics
from convert.system.parallel import ahead
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
MOST_AHEAD = 4
"""The largest number of steps of which the float network is computed before they are fitted."""
PARTS = 4
"""Into how many sums the images are divided, one a thread; fixed, because a sum shows in which order it was made."""
FREE = (-np.inf, np.inf)
ACTIVATION_LIMITS = {
    "RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0),
}  # fmt: skip
"""Activation, fused or an operator of its own -> what it clips to."""


@dataclass(frozen=True, eq=False)
class Layer:
    """Convolutions that read the same window, of which a depthwise one is alone."""

    window: Window
    readers: Sequence[Operator]
    depthwise: bool
    _positions: dict[int, Array] = field(default_factory=dict)

    @property
    def outputs(self) -> list[int]:
        """Return the tensors that they compute."""
        return [reader.outputs[0] for reader in self.readers]

    def positions_in(self, image: int) -> Array:
        """Return at which positions the window is read in an image: random ones, always the same."""
        if image not in self._positions:
            random = np.random.default_rng((self.readers[0].position, image))
            order = random.permutation(self.window.output[0] * self.window.output[1])
            self._positions[image] = order[:POSITIONS].copy()
        return self._positions[image]


@dataclass(frozen=True)
class Sample:
    """What a layer reads at random positions of some images.

    Attributes:
        noisy: what it reads in the quantized network, (groups, n, K).
        exact_outputs: what it computes in the float network, without bias and activation, (groups, n, out).
    """

    noisy: Array
    exact_outputs: Array


@dataclass(frozen=True)
class Fit:
    """New weights of a layer, (groups, out, K), and what is added to its bias, (groups, out).

    `removed` is the part of `shift` that stands for the rounding of the network's input. The quantized network here
    needs it; the one that is shipped has its input rounded otherwise (`convert.quantization.io_tensors`).
    """

    weights: Array
    shift: Array
    removed: Array


def reconstruct(
    float_model: bytes,
    statistics: ActivationStatistics,
    images: Sequence[Pixels],
    spec: InputSpec,
    progress: Progress,
    float_layers: Collection[str] = (),
) -> bytes:
    """Fit weights and biases of all ungrouped and depthwise convolutions to what they read in int8.

    The weights come to lie on their integer steps, and stay float32; everything else remains as it is, operators that
    compute a tensor of `float_layers` too, which are going to stay in float. `statistics` hold the ranges that the
    network is going to be quantized with. The same result on any number of cores.

    Raises:
        QuantizationError: there is no image, or an activation is not finite.
    """
    images = images[:MOST_IMAGES]
    if not images:
        raise QuantizationError("no calibration image: pass --calibration with a folder of at least one readable image")
    graph = TfliteGraph(float_model)
    layers = list(_layers(graph, float_layers))

    def fitting() -> Iterator[None]:
        recipe = schemes.Recipe(schemes.DEFAULT, "float32", tuple(float_layers))
        quantized = TfliteGraph(quantize(float_model, recipe, spec, statistics).model)
        tensors = [normalize(pixels, spec) for pixels in images]
        threads = len(os.sched_getaffinity(0))
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as cores:
            yield from _Networks(graph, float_model, quantized, tensors, cores).fit(layers)

    for _ in progress.track(fitting(), "fitting weights", len(layers)):
        pass
    return graph.to_bytes()


def _layers(graph: TfliteGraph, float_layers: Collection[str]) -> Iterator[Layer]:
    """Yield the layers to fit: ungrouped and depthwise convolutions of images that do not stay in float."""
    for window, readers in windows(graph).items():
        own = [reader for reader in readers if graph.tensor_name(reader.outputs[0]) not in float_layers]
        if own and not window.is_of_dense_layer:
            yield Layer(window, own, False)
    for window, reader in depthwise_windows(graph):
        if graph.tensor_name(reader.outputs[0]) not in float_layers and not window.is_of_dense_layer:
            yield Layer(window, [reader], True)


class _Networks:
    """A float network and its quantized one, both computed over all images as far as their layers are fitted.

    `graph` is that of the float model, and is given the weights that are fitted. Operators and tensors of the quantized
    one are found by the names of the float one's.
    """

    def __init__(
        self, graph: TfliteGraph, float_model: bytes, quantized: TfliteGraph, images: Sequence[Array], cores: Executor
    ) -> None:
        self.graph, self.quantized, self._cores, self._images = graph, quantized, cores, len(images)
        self._exact = Piecewise(TfliteGraph(float_model), images, -(-len(os.sched_getaffinity(0)) // 2))
        self._noisy = Piecewise(quantized, images)
        self._tensors = {quantized.tensor_name(i): i for i in quantized.tensors}

    def fit(self, layers: Sequence[Layer]) -> Iterator[None]:
        """Fit each layer as soon as what it reads is known; yield after each."""
        waiting = [layer for layer in layers if all(map(self._has_counterpart, layer.outputs))]
        for ready in ahead(self._read_in_float(waiting), MOST_AHEAD):
            self._noisy.advance([self._counterpart(i) for i in _outputs(waiting)])
            waiting = [layer for layer in waiting if layer not in ready]
            for layer, exact in ready.items():
                self._fit(layer, exact)
                yield

    def _read_in_float(self, waiting: Sequence[Layer]) -> Iterator[dict[Layer, list[Array]]]:
        """Yield the layers that can be fitted next, with what they read in each image in the float network.

        It does not depend on what is fitted. What reads nothing that depends on the image is left out.
        """
        while waiting:
            self._exact.advance(_outputs(waiting))
            ready = [layer for layer in waiting if self._exact.knows(layer.window.tensor)]
            if not ready:
                return
            yield {layer: list(map(partial(self._exact_rows, layer), range(self._images))) for layer in ready}
            waiting = [layer for layer in waiting if layer not in ready]

    def _exact_rows(self, layer: Layer, image: int) -> Array:
        values = self._exact.computed(layer.window.tensor)[image][0]
        return stacked_rows(values, layer.window, layer.positions_in(image), None, depthwise=layer.depthwise)

    def _noisy_rows(self, layer: Layer, image: int) -> Array:
        source = self._counterpart_of(layer.readers[0]).inputs[0]
        values, quantization = self._noisy.computed(source)[image][0], self.quantized.quantization(source)
        positions = layer.positions_in(image)
        return stacked_rows(values, layer.window, positions, quantization, depthwise=layer.depthwise)

    def _has_counterpart(self, index: int) -> bool:
        return self.graph.tensor_name(index) in self._tensors

    def _counterpart(self, index: int) -> int:
        """Return what the quantized network computes in place of a tensor."""
        return self._tensors[self.graph.tensor_name(index)]

    def _counterpart_of(self, operator: Operator) -> Operator:
        """Return what computes the output of an operator in the quantized network."""
        found = self.quantized.producer(self._counterpart(operator.outputs[0]))
        assert found is not None
        return found

    def _fit(self, layer: Layer, exact: Sequence[Array]) -> None:
        """Fit the convolutions of a layer, in the float graph and in the quantized one.

        `exact` is what the float network's layer reads in each image, see `stacked_rows`.
        """
        parts = [self._stacked(reader, layer.depthwise) for reader in layer.readers]
        weights = np.concatenate(parts, axis=1)
        numbers = range(min(PARTS, self._images))
        read = list(self._cores.map(lambda part: self._sample(layer, weights, exact, part), numbers))
        moments, samples = reduce(operators.add, (own for own, _ in read)), [sample for _, sample in read]
        del read  # 30 MB of moments in each, of the widest layers
        if self._is_first(layer):
            found = self._fitted_input(weights, moments)
        else:
            found = self._fitted(layer, weights, moments, samples)
        ends = np.cumsum([part.shape[1] for part in parts])[:-1]
        split = (np.split(each, ends, axis=1) for each in (found.weights, found.shift, found.removed))
        for reader, *own in zip(layer.readers, *split, strict=True):
            self._write(reader, Fit(*own), layer.depthwise)

    def _is_first(self, layer: Layer) -> bool:
        """Return whether a layer reads the image itself."""
        return layer.window.tensor in self.graph.inputs

    def _stacked(self, reader: Operator, depthwise: bool) -> Array:
        return stacked_weights(self.graph.constant(reader.weights), depthwise=depthwise)

    def _sample(self, layer: Layer, weights: Array, exact: Sequence[Array], part: int) -> tuple[JointMoments, Sample]:
        """Read what a layer reads in every image of a part; return it, and its moments in both networks."""
        images = range(part, self._images, PARTS)
        x = np.concatenate([exact[image] for image in images], axis=1)
        y = np.concatenate([self._noisy_rows(layer, image) for image in images], axis=1)
        return JointMoments.of_rows(weights, x, y), Sample(y, x @ weights.transpose(0, 2, 1))

    def _fitted_input(self, weights: Array, moments: JointMoments) -> Fit:
        """Round the weights of a layer that reads the image, whose noise is none of the network's own."""
        y, e, yy, _ = moments.central()
        fitted = self._rounded(weights, self._cores.map(feedback_of, yy))
        return Fit(fitted, e + _applied(weights - fitted, y), e)

    def _fitted(self, layer: Layer, weights: Array, moments: JointMoments, samples: Sequence[Sample]) -> Fit:
        """Fit weights to what a layer reads in the quantized network, and its biases to equal means of its outputs."""
        y, e, yy, ey = moments.central()
        feedbacks = self._cores.map(feedback_of, yy)  # meanwhile
        fitted = self._rounded(target(weights, yy, ey), feedbacks)
        outputs = self._cores.map(lambda sample: sample.noisy @ fitted.transpose(0, 2, 1), samples)
        noisy = np.concatenate(list(outputs), axis=1)
        exact = np.concatenate([sample.exact_outputs for sample in samples], axis=1)
        biases = [_bias(self.graph, reader) for reader in layer.readers]
        offset = np.concatenate(biases).reshape(weights.shape[:2])[:, np.newaxis]
        of_float = [_clipped_to(self.graph, reader) for reader in layer.readers]
        of_int8 = [_int8_range(self.quantized, self._counterpart(i)) for i in layer.outputs]
        clipped, saturated = (_per_channel(each, biases, offset.shape) for each in (of_float, of_int8))
        shift = e + _applied(weights - fitted, y)
        shift = self._equal_means(exact + offset, noisy + offset, clipped, saturated, shift)
        return Fit(fitted, shift, np.zeros_like(e))

    def _equal_means(self, exact: Array, noisy: Array, clipped: Limits, saturated: Limits, shift: Array) -> Array:
        """Return what `equal_means` does; every thread has channels of its own."""
        axis = -1 if len(exact) == 1 else 0

        def parts(values: Array) -> list[Array]:
            return np.array_split(values, PARTS, axis)

        limits = (zip(*map(parts, pair), strict=True) for pair in (clipped, saturated))
        return np.concatenate(
            list(self._cores.map(equal_means, parts(exact), parts(noisy), *limits, parts(shift))), axis
        )

    def _rounded(self, weights: Array, feedbacks: Iterable[Array]) -> Array:
        """Round weights (groups, out, K) with the feedback of each group, a group a thread."""

        def rounded_group(own: Array, feedback: Array) -> Array:
            return rounded(own[:, np.newaxis, np.newaxis], feedback)[:, 0, 0]

        return np.stack(list(self._cores.map(rounded_group, weights, feedbacks)))

    def _write(self, reader: Operator, fit: Fit, depthwise: bool) -> None:
        """Put new weights, and what is added to the bias, into both graphs."""
        graph, removed = self.graph, fit.removed.reshape(-1)
        values = unstacked_weights(fit.weights, graph.shape(reader.weights), depthwise=depthwise)
        graph.set_constant(reader.weights, values)
        bias = None
        if reader.bias is not None and graph.is_constant(reader.bias) and len(graph.consumers(reader.bias)) == 1:
            bias = (_bias(graph, reader) + fit.shift.reshape(-1) - removed).astype(np.float32)
            graph.set_constant(reader.bias, bias)
        other = self._counterpart_of(reader)
        if self.quantized.dtype(other.weights) == "int8":
            self._write_integers(reader, values, None if bias is None else bias + removed)
            return
        self.quantized.set_constant(other.weights, values)
        if bias is not None and other.bias is not None:
            self.quantized.set_constant(other.bias, bias)

    def _write_integers(self, reader: Operator, weights: Array, bias: Array | None) -> None:
        """Quantize the weights and the bias of an operator as `quantize` does, into the quantized graph."""
        quantized, other = self.quantized, self._counterpart_of(reader)
        axes = tuple(axis for axis in range(weights.ndim) if axis != reader.channel_axis)
        scales = np.maximum(np.abs(weights).max(axis=axes), np.float32(LEAST_PEAK)) / np.float32(STEPS)
        if bias is not None:
            scales = np.maximum(scales, least_scales(quantized, other, bias.astype(np.float64))).astype(np.float32)
        shape = [1] * weights.ndim
        shape[reader.channel_axis] = -1
        quantized.set_constant(other.weights, np.rint(weights / scales.reshape(shape)).astype(np.int8))
        quantized.set_scales(other.weights, scales)
        if bias is not None:
            source = quantized.quantization(other.inputs[0])
            assert source is not None
            assert other.bias is not None
            step = scales.astype(np.float64) * source[0]
            quantized.set_constant(other.bias, np.rint(bias / step).astype(np.int32))
            quantized.set_scales(other.bias, step.astype(np.float32))


def _applied(weights: Array, inputs: Array) -> Array:
    """Return what weights (groups, out, K) make of one position of inputs (groups, K), (groups, out)."""
    return np.asarray((weights @ inputs[:, :, np.newaxis])[:, :, 0])


def _outputs(layers: Sequence[Layer]) -> list[int]:
    """Return the tensors that some layers compute."""
    return [tensor for layer in layers for tensor in layer.outputs]


def _bias(graph: TfliteGraph, reader: Operator) -> Array:
    """Return the bias of a convolution, (out,); zeros if it has none."""
    if reader.bias is not None and graph.is_constant(reader.bias):
        return graph.constant(reader.bias)
    return np.zeros(graph.shape(reader.outputs[0])[-1], np.float32)


def _clipped_to(graph: TfliteGraph, operator: Operator) -> tuple[float, float]:
    """Return between which values the output of an operator is clipped, by itself and by what alone reads it.

    A cap that follows shares its scale in int8, so the output is clipped there before it comes to the cap.
    """
    low, high = ACTIVATION_LIMITS.get(operator.fused_activation, FREE)
    readers = graph.consumers(operator.outputs[0])
    if len(readers) != 1:
        return low, high
    (reader,) = readers
    constants = [graph.constant(i) for i in reader.inputs if i >= 0 and graph.is_constant(i)]
    least, most = ACTIVATION_LIMITS.get(reader.name, FREE)
    if reader.name == "MINIMUM" and constants:
        most = float(constants[0].max())
    if reader.name == "MAXIMUM" and constants:
        least = float(constants[0].min())
    return max(low, least), min(high, most)


def _per_channel(limits: Sequence[tuple[float, float]], biases: Sequence[Array], shape: tuple[int, ...]) -> Limits:
    """Return the smallest and the largest value of every output of a layer, given those of each reader."""
    low, high = (
        np.concatenate([np.full_like(bias, pair[side]) for bias, pair in zip(biases, limits, strict=True)])
        for side in (0, 1)
    )
    return low.reshape(shape), high.reshape(shape)


def _int8_range(quantized: TfliteGraph, tensor: int) -> tuple[float, float]:
    """Return the values between which a tensor of the quantized network is clipped."""
    quantization = quantized.quantization(tensor)
    if quantization is None or quantized.dtype(tensor) != "int8":
        return -np.inf, np.inf
    scale, zero_point = quantization
    return (-128 - zero_point) * scale, (127 - zero_point) * scale
