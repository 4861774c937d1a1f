"""Float `.tflite` + images -> the same network, whose convolution weights are multiples of their integer steps.

Each weight is rounded to the side that undoes what rounding the weights before it did to the layer's output on
the images: GPTQ (Frantar et al. 2022, arXiv:2210.17323), computed as LDLQ (Chee et al. 2023, "QuIP",
arXiv:2307.13304, where both are shown to be the same), which takes one Cholesky factor and no inverse.

Images -> second moments E[x x^T] of what each convolution reads -> integers -> weights. A quantizer that sets
scale = max|w| / 127 for each output channel finds the same integers again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from convert.errors import QuantizationError
from convert.quantization.cholesky import Cholesky
from convert.quantization.second_moments import SecondMoments, Window, windows
from convert.system.progress import Progress
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, run_over
from convert.tflite.operators import Operator
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize

MOST_IMAGES = 50
"""The largest number of images used: on the demo network 25, 50 and 100 gave the same within 0.6 dB."""
DAMPING = 0.01
"""Fraction of the mean square of the inputs that is added to the diagonal; 0.001 to 0.1 gave the same within 0.6 dB."""
MOST_MEMORY = 2**30
"""Bytes of moments held at once; what does not fit is left to another pass over the images."""
BLOCK = 32
"""Columns between two matrix products of `gptq`."""
STEPS = 127
"""The largest int8 weight; -128 stays unused, so that weights are symmetric."""
LEAST_PEAK = 1e-9
"""What the quantizer takes for max|w| if that is smaller."""


def round_weights(float_model: bytes, images: Sequence[Pixels], spec: InputSpec, progress: Progress) -> bytes:
    """Round the weights of all ungrouped CONV_2D to integer steps; they stay float32, everything else as it is.

    Second moments are those of the first `MOST_IMAGES`. Each window is a piece of work for one thread, in which BLAS
    has one thread. Threads inside a BLAS wait for each other by spinning: for matrices of a few hundred rows, and on a
    machine that does something else as well, that costs many times what it gains. Results are the same on any number
    of cores.

    Raises:
        QuantizationError: there is no image, or an activation is not finite.
    """
    images = images[:MOST_IMAGES]
    if not images:
        raise QuantizationError("no calibration image: pass --calibration with a folder of at least one readable image")
    graph = TfliteGraph(float_model)
    readers = {window: found for window, found in windows(graph).items() if not window.is_of_dense_layer}
    passes = list(_passes(readers))

    def rounding() -> Iterator[None]:
        threads = len(os.sched_getaffinity(0))
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as cores:
            for members in passes:
                observers = [SecondMoments(window) for window in members]
                tensors = (normalize(pixels, spec) for pixels in images)
                yield from _observe(RecordingEngine(float_model), tensors, observers, cores)
                yield from _round_readers(graph, readers, observers, cores)

    for _ in progress.track(rounding(), "rounding weights", len(images) * len(passes) + len(readers)):
        pass
    return graph.to_bytes()


def _passes(found: Iterable[Window]) -> Iterator[list[Window]]:
    """Yield the windows in order, cut where their moments together would exceed `MOST_MEMORY`."""
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


def _observe(
    engine: RecordingEngine, tensors: Iterable[Array], observers: Sequence[SecondMoments], cores: Executor
) -> Iterator[None]:
    """Let every observer read each image; yield after each image."""
    random = np.random.default_rng(0)

    def add(observer: SecondMoments, seed: int) -> None:
        observer.add(engine.tensor(observer.window.tensor)[0], seed)

    for _ in run_over(engine, tensors):
        seeds = random.integers(2**63, size=len(observers))
        list(cores.map(add, observers, map(int, seeds)))
        yield


def _round_readers(
    graph: TfliteGraph,
    readers: Mapping[Window, Sequence[Operator]],
    observers: list[SecondMoments],
    cores: Executor,
) -> Iterator[None]:
    """Round the weights of the convolutions that read each window, all of one window together; yield after each."""

    def new_weights(observer: SecondMoments) -> Array:
        weights = [graph.constant(reader.weights) for reader in readers[observer.window]]
        return rounded(np.concatenate(weights), feedback_of(damped(observer.mean())))

    for observer, weights in zip(observers, cores.map(new_weights, observers), strict=True):
        tensors = [reader.weights for reader in readers[observer.window]]
        ends = np.cumsum([graph.shape(i)[0] for i in tensors])
        for i, part in zip(tensors, np.split(weights, ends[:-1]), strict=True):
            graph.set_constant(i, part)
        yield


def damped(moments: Array) -> Array:
    """Add `DAMPING` to the diagonal of moments (K, K), in place; return the identity if no input was ever active.

    Moments that are not finite raise `QuantizationError`.
    """
    mean = float(np.trace(moments, dtype=np.float64)) / len(moments)
    if not np.isfinite(mean):
        raise QuantizationError(
            "an activation is not finite on the calibration images: check the network's weights and --preprocessing"
        )
    moments[np.diag_indices_from(moments)] += DAMPING * mean or 1.0
    return moments


def rounded(weights: Array, feedback: Array) -> Array:
    """Return float32 multiples of max|w| / 127 for each output channel; the largest magnitudes stay as they are.

    `weights` are float32 (out, h, w, in), `feedback` that of moments (K, K), K = h * w * in.
    """
    flat = weights.reshape(len(weights), -1)
    peaks = np.abs(flat).max(axis=1)
    scales = np.maximum(peaks, np.float32(LEAST_PEAK)) / np.float32(STEPS)
    values = gptq(flat, feedback, scales) * scales[:, np.newaxis]
    limits = peaks[:, np.newaxis]
    exact = np.where(np.abs(flat) == limits, flat, np.clip(values, -limits, limits))
    return np.asarray(exact.reshape(weights.shape), np.float32)


def gptq(weights: Array, feedback: Array, scales: Array) -> Array:
    """Return integers q, float32 (out, K), that keep E[((w - scale * q) . x)^2] small for x of given second moments.

    With moments (1 + U) D (1 + U)^T, U strictly upper triangular, column k becomes
    rint(w_k + sum over j < k of (w_j - q_j) U_jk); the largest magnitude of each channel keeps its integer.

    `weights` are float32 (out, K), `feedback` is U^T, see `feedback_of`, and `scales` are positive (out,): no weight
    exceeds 127 of them, and no integer exceeds 127.
    """
    exact = np.asarray((weights / scales[:, np.newaxis]).T, np.float32, order="C")
    is_free = (np.abs(weights) != np.abs(weights).max(axis=1, keepdims=True)).T.copy()
    integers, errors = np.rint(exact), np.empty_like(exact)
    for start in range(0, len(exact), BLOCK):
        block = slice(start, start + BLOCK)
        wanted = exact[block] + feedback[block, :start] @ errors[:start]
        for k, target in enumerate(wanted, start):
            np.add(target, feedback[k, start:k] @ errors[start:k], out=target)
            np.rint(target, out=target)
            np.minimum(target, STEPS, out=target)
            np.maximum(target, -STEPS, out=target)
            np.copyto(integers[k], target, where=is_free[k])
            np.subtract(exact[k], integers[k], out=errors[k])
    return integers.T


def feedback_of(moments: Array) -> Array:
    """Return U^T of moments = (1 + U) D (1 + U)^T: the Cholesky factor from the other end, float32 (K, K).

    `moments` are positive definite (K, K); only their upper triangle is read.

    Raises:
        QuantizationError: they are not.
    """
    backwards = np.asarray(moments[::-1, ::-1], np.float64)  # damped by a hundredth, which is little for float32
    try:
        lower = Cholesky.of(backwards).lower
    except np.linalg.LinAlgError as error:
        raise QuantizationError(
            "a layer's weights cannot be fitted to what it reads, whose moments are not positive definite: check "
            "that the images of --calibration differ, that the network is trained, and --preprocessing"
        ) from error
    lower /= np.diag(lower).copy()
    return np.asarray(lower[::-1, ::-1].T, np.float32, order="C")
