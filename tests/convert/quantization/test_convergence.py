"""Whether there were enough images, on ranges computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from convert.quantization.convergence import (
    AIM,
    FEWEST,
    MOST,
    convergence,
    halves_differ,
    have_converged,
    images_for_ranges,
)


def extremes(*images: list[tuple[float, float]]) -> npt.NDArray[Any]:
    """For each image the (smallest, largest) value of each activation."""
    return np.array(images, np.float32)


THREE = extremes([(0, 1), (-1, 1)], [(0, 2), (-2, 1)], [(1, 4), (0, 2)])


def test_ranges_grow_to_all_of_themselves() -> None:
    assert convergence(THREE) == [
        {"images": 1, "range_ratio": pytest.approx((1 / 4 + 2 / 4) / 2)},
        {"images": 2, "range_ratio": pytest.approx((2 / 4 + 3 / 4) / 2)},
        {"images": 3, "range_ratio": 1.0},
    ]


def spikes(images: int) -> npt.NDArray[Any]:
    """A hundred activations, each of which reaches 2 in one image of ten, and 1 in the others."""
    high = np.where(np.random.default_rng(0).random((images, 100)) < 0.1, 2.0, 1.0)
    return np.stack([np.zeros_like(high), high], axis=-1).astype(np.float32)


def test_images_are_advised_where_halves_differ_and_the_advice_is_enough() -> None:
    few, many = spikes(12), spikes(400)
    differ, enough = halves_differ(few), images_for_ranges(few)
    assert differ is not None
    assert differ > AIM
    assert enough is not None
    assert 12 < enough <= MOST
    after = halves_differ(spikes(enough))
    assert after is not None
    assert after < AIM
    assert images_for_ranges(many) is None
    assert images_for_ranges(THREE[:1]) is None


def test_halves_are_every_other_image() -> None:
    """First and third: 4 and -1..2; the second alone: 2 and -2..1."""
    assert halves_differ(THREE) == pytest.approx((2 / 4 + 0 / 3) / 2)
    assert halves_differ(THREE[:1]) is None


def test_a_range_includes_zero() -> None:
    assert convergence(extremes([(5, 6)], [(5, 12)]))[0]["range_ratio"] == 0.5


def test_an_activation_that_is_always_zero_counts_as_converged() -> None:
    assert convergence(extremes([(0, 0)], [(0, 0)]))[0]["range_ratio"] == 1.0


def test_enough_is_when_twice_the_images_add_nothing() -> None:
    still = extremes(*[[(0.0, 1.0)]] * 64)
    assert not any(have_converged(still[:count]) for count in range(FEWEST))
    assert have_converged(still[:FEWEST])
    growing = extremes(*[[(0.0, 1.0 + i)] for i in range(64)])
    assert not any(have_converged(growing[:count]) for count in range(1, 65))
