"""Float `.tflite` + images -> the same network whose convolution weights already are multiples of their int8 steps.

Each weight is rounded to the side that undoes what rounding the weights before it did to the layer's output on
the images: GPTQ (Frantar et al. 2022, arXiv:2210.17323), computed as LDLQ (Chee et al. 2023, "QuIP",
arXiv:2307.13304, where both are shown to be the same), which takes one Cholesky factor and no inverse.

Images -> what each window of a convolution sees -> second moments E[x x^T] -> integers -> weights. A quantizer
that sets scale = max|w| / 127 for each output channel finds the same integers again. The moments are not
centred: inputs are mostly positive, and this way the mean of the outputs is kept as well as their variance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import ssyrk
from scipy.linalg.lapack import dpotrf

from convert.errors import QuantizationError
from convert.quantization.threads import all_cores
from convert.system.progress import Progress, Silent
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from convert.tflite.operators import CONVOLUTION, Operator, padding_before
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize

LARGEST = 127
"""The largest magnitude of an int8 weight; -128 stays unused."""

MOST_IMAGES = 50
"""More images than these are not looked at: on the demo network 25, 50 and 100 gave the same within 0.6 dB."""

POSITIONS = 64
"""At most so many random window positions are looked at in an image."""

DAMPING = 0.01
"""Part of the mean square of the inputs that is added to each one's; 0.001 to 0.1 gave the same within 0.6 dB."""

MOST_MEMORY = 2**30
"""Bytes of moments held at once; what does not fit is left to another pass over the images."""

BLOCK = 32
"""Columns between two matrix products of `gptq`."""

ROWS_AT_ONCE = 256
"""Rows gathered before they are added to the moments."""

LEAST_PEAK = 1e-9
"""What ai-edge-quantizer takes for max|w| where that is smaller."""


@dataclass(frozen=True)
class Window:
    """What a convolution reads; pairs are (vertical, horizontal).

    Attributes:
        tensor: index of its input.
        channels: of the input.
        kernel, stride, dilation: of the convolution.
        before: rows and columns of zeros put before the input.
        output: size of the output.
    """

    tensor: int
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    output: tuple[int, int]

    @property
    def width(self) -> int:
        """How many numbers it sees at one position."""
        return self.kernel[0] * self.kernel[1] * self.channels


def round_weights(
    float_model: bytes, images: Sequence[Pixels], spec: InputSpec, progress: Progress | None = None
) -> bytes:
    """Round the weights of all ungrouped CONV_2D to int8 steps; they stay float32, everything else as it is.

    Args:
        float_model: a float `.tflite` of batch 1.
        images: uint8 pixels as `load_pixels` returns them; the first `MOST_IMAGES` are used.
        spec: how they are normalized.
        progress: told of each image of each pass over them, and of each window.

    Raises:
        QuantizationError: no image, or an activation that is not finite.
    """
    images = images[:MOST_IMAGES]
    if not images:
        raise QuantizationError("no calibration image: pass --calibration with a folder of at least one readable image")
    graph = TfliteGraph(float_model)
    readers = windows(graph)
    passes = list(_passes(list(readers)))

    def steps() -> Iterator[None]:
        with all_cores() as cores:
            for members in passes:
                moments = {window: Moments(window) for window in members}
                yield from _look(float_model, moments, images, spec, cores)
                work = [(readers[window], moments.pop(window).mean()) for window in members]
                for parts in cores.map(lambda part: _rounded_readers(graph, *part), work):
                    for i, part in parts:
                        graph.set_constant(i, part)
                    yield

    for _ in (progress or Silent()).track(steps(), "rounding weights", len(images) * len(passes) + len(readers)):
        pass
    return graph.to_bytes()


def _rounded_readers(graph: TfliteGraph, readers: Sequence[Operator], moments: Array) -> list[tuple[int, Array]]:
    """Tensor and new weights of each of the convolutions that see the same, together."""
    tensors = [operator.weights for operator in readers]
    weights = rounded(np.concatenate([graph.constant(i) for i in tensors]), damped(moments))
    ends = np.cumsum([graph.shape(i)[0] for i in tensors])
    return list(zip(tensors, np.split(weights, ends[:-1]), strict=True))


def windows(graph: TfliteGraph) -> dict[Window, list[Operator]]:
    """The ungrouped convolutions with float weights of their own; those that read the same stand together."""
    readers = defaultdict(list)
    for operator in graph.named(CONVOLUTION):
        tensor, weights = operator.inputs[0], operator.weights
        ungrouped = graph.shape(weights)[3] == graph.shape(tensor)[3]
        own = graph.is_constant(weights) and len(graph.consumers(weights)) == 1
        if ungrouped and own and graph.dtype(weights) == "float32":
            readers[_window(graph, operator)].append(operator)
    return dict(readers)


def _window(graph: TfliteGraph, operator: Operator) -> Window:
    _, height, width, channels = graph.shape(operator.weights)
    size, output = graph.shape(operator.inputs[0])[1:3], graph.shape(operator.outputs[0])[1:3]
    stride, dilation = operator.strides, operator.dilations
    rows, columns = (
        0 if operator.is_unpadded else padding_before(size[i], output[i], taps, stride[i], dilation[i])
        for i, taps in enumerate((height, width))
    )
    kernel, before = (height, width), (rows, columns)
    return Window(operator.inputs[0], channels, kernel, stride, dilation, before, (output[0], output[1]))


def _passes(found: Sequence[Window]) -> Iterator[list[Window]]:
    """The windows in order, cut where their moments together would exceed `MOST_MEMORY`."""
    members: list[Window] = []
    held = 0
    for window in found:
        needed = 4 * window.width**2
        if members and held + needed > MOST_MEMORY:
            yield members
            members, held = [], 0
        members.append(window)
        held += needed
    if members:
        yield members


def second_moments(
    float_model: bytes,
    members: Sequence[Window],
    images: Sequence[Pixels],
    spec: InputSpec,
    cores: Executor,
) -> dict[Window, Array]:
    """E[x x^T], float32 (K, K), of what each window sees at random positions of the images; the upper triangle of it.

    Args:
        float_model: a float `.tflite` of batch 1.
        members: windows of it.
        images: uint8 pixels.
        spec: how they are normalized.
        cores: what windows are divided among.
    """
    moments = {window: Moments(window) for window in members}
    for _ in _look(float_model, moments, images, spec, cores):
        pass
    return {window: moments.pop(window).mean() for window in members}


def _look(
    float_model: bytes, moments: dict[Window, Moments], images: Sequence[Pixels], spec: InputSpec, cores: Executor
) -> Iterator[None]:
    """Add what each window sees of each image to its moments; yields after each image."""
    engine, random = RecordingEngine(float_model), np.random.default_rng(0)
    for pixels in images:
        engine.run(normalize(pixels, spec)[np.newaxis])
        seeds = random.integers(2**63, size=len(moments))
        list(cores.map(lambda window, seed: moments[window].look(engine, int(seed)), list(moments), seeds))
        yield


class Moments:
    """Sums of x x^T over what a window sees; the upper triangle is kept, in the order that BLAS writes it."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._sum: Array = np.zeros((window.width, window.width), np.float32, order="F")
        self._rows: list[Array] = []
        self._count = 0

    def look(self, engine: RecordingEngine, seed: int) -> None:
        """Add what the window sees at random positions of the image that an engine has just run."""
        window = self._window
        positions = np.random.default_rng(seed).permutation(window.output[0] * window.output[1])[:POSITIONS]
        self._rows.append(patches(engine.tensor(window.tensor)[0], window, positions))
        self._count += len(positions)
        if sum(map(len, self._rows)) >= ROWS_AT_ONCE:
            self._add_products()

    def mean(self) -> Array:
        """The moments, once; the object has nothing left then."""
        self._add_products()
        result, self._sum = self._sum, np.empty(0, np.float32)
        result /= np.float32(self._count)
        return result

    def _add_products(self) -> None:
        if self._rows:
            rows = np.concatenate(self._rows)
            self._sum = ssyrk(1.0, rows.T, beta=1.0, c=self._sum, overwrite_c=1)
            self._rows = []


def patches(image: Array, window: Window, positions: Array) -> Array:
    """What a window sees at some positions.

    Args:
        image: its tensor, (height, width, channels).
        window: where it looks.
        positions: integers (n,): row * columns + column of the output.

    Returns:
        (n, kernel height * kernel width * channels), in the order of weights (out, h, w, in); padding is 0.
    """
    taps, inside = [], []
    for i, first in enumerate(np.divmod(positions, window.output[1])):
        tap = (first * window.stride[i] - window.before[i])[:, np.newaxis]
        tap = tap + np.arange(window.kernel[i]) * window.dilation[i]
        inside.append((tap >= 0) & (tap < image.shape[i]))
        taps.append(np.clip(tap, 0, image.shape[i] - 1))
    seen = image[taps[0][:, :, np.newaxis], taps[1][:, np.newaxis, :]]
    seen *= (inside[0][:, :, np.newaxis] & inside[1][:, np.newaxis, :])[..., np.newaxis]
    return np.asarray(seen.reshape(len(positions), window.width))


def damped(moments: Array) -> Array:
    """Moments (K, K) with `DAMPING` on the diagonal, in place; the identity where no input was ever active.

    Raises:
        QuantizationError: they are not finite.
    """
    mean = float(np.trace(moments, dtype=np.float64)) / len(moments)
    if not np.isfinite(mean):
        raise QuantizationError("an activation is not finite on the calibration images: the network is broken")
    moments[np.diag_indices_from(moments)] += DAMPING * mean or 1.0
    return moments


def rounded(weights: Array, moments: Array) -> Array:
    """float32 multiples of max|w| / 127 of each output channel, whose largest magnitudes are those of `weights`.

    Args:
        weights: float32 (out, h, w, in).
        moments: the upper triangle of a positive definite (K, K), K = h * w * in.
    """
    flat = weights.reshape(len(weights), -1)
    peaks = np.abs(flat).max(axis=1)
    scales = np.maximum(peaks, np.float32(LEAST_PEAK)) / np.float32(LARGEST)
    values = gptq(flat, moments, scales) * scales[:, np.newaxis]
    limits = peaks[:, np.newaxis]
    exact = np.where(np.abs(flat) == limits, flat, np.clip(values, -limits, limits))
    return np.asarray(exact.reshape(weights.shape), np.float32)


def gptq(weights: Array, moments: Array, scales: Array) -> Array:
    """Integers q that keep E[((w - scale * q) . x)^2] small for inputs x of given second moments.

    With moments (1 + U) D (1 + U)^T, U strictly upper triangular, column k becomes
    rint(w_k + sum over j < k of (w_j - q_j) U_jk); the largest magnitude of each channel keeps its integer.

    Args:
        weights: float32 (out, K).
        moments: positive definite (K, K); only its upper triangle is read.
        scales: positive (out,); no weight exceeds 127 of them.

    Returns:
        float32 integers (out, K) from -127 to 127.
    """
    exact = np.asarray((weights / scales[:, np.newaxis]).T, np.float32, order="C")
    is_free = (np.abs(weights) != np.abs(weights).max(axis=1, keepdims=True)).T.copy()
    feedback = _feedback(moments)
    integers, errors = np.rint(exact), np.empty_like(exact)
    for start in range(0, len(exact), BLOCK):
        block = slice(start, start + BLOCK)
        wanted = exact[block] + feedback[block, :start] @ errors[:start]
        for i, target in enumerate(wanted):
            k = start + i
            np.rint(target, out=target)
            np.minimum(target, LARGEST, out=target)
            np.maximum(target, -LARGEST, out=target)
            np.copyto(integers[k], target, where=is_free[k])
            np.subtract(exact[k], integers[k], out=errors[k])
            wanted[i + 1 :] += feedback[k + 1 : start + len(wanted), k, np.newaxis] * errors[k]
    return integers.T


def _feedback(moments: Array) -> Array:
    """U^T of moments = (1 + U) D (1 + U)^T: the Cholesky factor from the other end, float32 (K, K)."""
    backwards = np.asarray(moments[::-1, ::-1], np.float64, order="F")
    lower, failed = dpotrf(backwards, lower=1, clean=1, overwrite_a=1)
    if failed:
        raise QuantizationError("the moments of an activation are not positive definite: the network is broken")
    lower /= np.diag(lower).copy()
    return np.asarray(lower[::-1, ::-1].T, np.float32, order="C")
