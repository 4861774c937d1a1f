"""What clips outputs is taken into account where their means are made equal."""

from __future__ import annotations

import numpy as np

from convert.quantization.equal_means import equal_means


def test_means_are_equal_behind_the_clipping() -> None:
    random = np.random.default_rng(0)
    exact = random.normal(0, 2, (1, 5000, 3))
    noisy = exact + random.normal(0.3, 1, exact.shape)
    none, six = np.zeros((1, 1, 3)), np.full((1, 1, 3), 6.0)
    shift = equal_means(exact, noisy, (none, six), (none, 0.7 * six), np.zeros((1, 3)))
    behind = np.clip(noisy + shift, 0, 4.2).mean(axis=1)
    assert np.allclose(behind, np.clip(exact, 0, 6).mean(axis=1), atol=1e-4)
    dead = equal_means(exact - 50, noisy - 50, (none, six), (none, six), np.full((1, 3), 0.25))
    assert np.array_equal(dead, np.full((1, 3), 0.25)), "nothing tells how far a dead channel is off"
