"""Moments of what a convolution reads in the quantized network, and of what that changes in its output.

Weights are stacked as (groups, out, K), rows as (groups, n, K): an ungrouped convolution is one group, of a depthwise
one each channel is a group with one output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convert.errors import QuantizationError
from convert.quantization.cholesky import Cholesky
from convert.quantization.gptq import DAMPING
from convert.quantization.second_moments import Window, patches
from edge_runtime.arrays import Array

SHRINKAGE = 10.0
"""The mean variance of the inputs, times this, pulls the target towards the exact weights.

Chosen on 200 photographs of EfficientNet-Lite0: against GPTQ alone 10 gained 1.3 dB, 1 only 0.3 (overfitted); biases
alone, without a target, 1.1 there, but -0.3 on a MobileNetV2 where 10 gained 1.9."""
LEAST_VARIANCE = 1e-3
"""The least variance of a group's inputs, as a fraction of the mean over all groups: almost dead channels stay."""


@dataclass(frozen=True)
class JointMoments:
    """Sums over positions: of y, what the layer reads in the quantized network, and of e = W (x - y).

    Attributes:
        count: of positions.
        y, yy: (groups, K), (groups, K, K).
        e, ey: (groups, out), (groups, out, K).
    """

    count: int
    y: Array
    yy: Array
    e: Array
    ey: Array

    @classmethod
    def of_rows(cls, weights: Array, exact: Array, noisy: Array) -> JointMoments:
        """Sum over rows, (groups, n, K), of the float network and of the quantized one."""
        error = (exact - noisy) @ weights.transpose(0, 2, 1)
        size = noisy.shape[2]
        yy = np.empty((len(noisy), size, size), np.float32)
        for rows, product in zip(noisy, yy, strict=True):  # one by one: of such a product NumPy computes half
            np.matmul(rows.T, rows, out=product)
        sums = (noisy.sum(axis=1), yy, error.sum(axis=1), error.transpose(0, 2, 1) @ noisy)
        return cls(noisy.shape[1], *sums)

    def __add__(self, other: JointMoments) -> JointMoments:
        """Return the sums over both."""
        sums = (self.y + other.y, self.yy + other.yy, self.e + other.e, self.ey + other.ey)
        return JointMoments(self.count + other.count, *sums)

    def central(self) -> tuple[Array, Array, Array, Array]:
        """Return the means of y and e, the covariance of y, damped, and that of e with y.

        Raises:
            QuantizationError: a value was not finite.
        """
        y, e = self.y / self.count, self.e / self.count
        yy = self.yy / self.count
        yy -= y[:, :, np.newaxis] * y[:, np.newaxis, :]
        ey = self.ey / self.count - e[:, :, np.newaxis] * y[:, np.newaxis, :]
        variance = np.trace(yy, axis1=1, axis2=2) / yy.shape[1]
        if not np.isfinite(variance).all():
            raise QuantizationError(
                "an activation is not finite on the calibration images: check the network's weights and --preprocessing"
            )
        variance = np.maximum(variance, LEAST_VARIANCE * variance.mean())
        diagonal = np.arange(yy.shape[1])
        yy[:, diagonal, diagonal] += np.where(variance > 0, DAMPING * variance, 1)[:, np.newaxis]
        return y, e, yy, ey


def stacked_weights(weights: Array, *, depthwise: bool) -> Array:
    """Return weights (out, h, w, in), or (1, h, w, channels) of a depthwise convolution, as (groups, out, K)."""
    if depthwise:
        return np.ascontiguousarray(weights.reshape(-1, weights.shape[-1]).T[:, np.newaxis])
    return weights.reshape(1, len(weights), -1)


def unstacked_weights(stacked: Array, shape: tuple[int, ...], *, depthwise: bool) -> Array:
    """Return stacked weights in the shape of the operator's."""
    return np.ascontiguousarray((stacked[:, 0].T if depthwise else stacked).reshape(shape))


def stacked_rows(
    image: Array, window: Window, positions: Array, quantization: tuple[float, int] | None, *, depthwise: bool
) -> Array:
    """Return what a window reads at some positions, (groups, n, K); see `patches`."""
    rows = patches(image, window, positions, quantization)
    if depthwise:
        return np.ascontiguousarray(rows.reshape(len(rows), -1, window.channels).transpose(2, 0, 1))
    return rows[np.newaxis]


def target(weights: Array, yy: Array, ey: Array, shrinkage: float = SHRINKAGE) -> Array:
    """Return the weights (groups, out, K) that come closest to W x when they read y, shrunk towards W.

    `yy` is the damped covariance of y, `ey` that of W (x - y) with y.
    """
    size = yy.shape[1]
    mean = np.trace(yy, axis1=1, axis2=2) / size
    shrunk, diagonal = yy.copy(), np.arange(size)  # float32 will do: shrinkage keeps it far from singular
    shrunk[:, diagonal, diagonal] += (shrinkage * mean)[:, np.newaxis]
    if len(shrunk) == 1:
        change = Cholesky.of(shrunk[0]).solve(ey[0].T).T[np.newaxis]
    else:
        change = np.linalg.solve(shrunk, ey.transpose(0, 2, 1)).transpose(0, 2, 1)
    return np.asarray(weights + change, np.float32)
