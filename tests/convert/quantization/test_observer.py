"""Histograms against NumPy's own, whatever the order and the parts in which values come."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convert.quantization.observer import HALF, SMOOTHING, ActivationObserver, ChannelObserver, Histogram

Array = npt.NDArray[Any]
VALUES = arrays(np.float32, st.integers(1, 40), elements=st.floats(-1000, 1000, width=32))


def histogram_of(*parts: Array) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


def test_counts_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(0, 3, (50, 40)).astype(np.float32)
    histogram = histogram_of(values)
    edges = np.linspace(-histogram.limit, histogram.limit, 2 * HALF + 1)
    assert np.array_equal(histogram.counts, np.histogram(values, edges)[0])
    assert histogram.limit / 2 <= np.abs(values).max() < histogram.limit


def test_a_grown_histogram_is_the_one_that_was_large_from_the_start() -> None:
    """Five doublings: 32 bins became one, on both sides of zero."""
    small, large = np.linspace(-1, 1, 999, dtype=np.float32), np.float32([31.5, -2])
    grown = histogram_of(small, large)
    at_once = histogram_of(np.concatenate([large, small]))
    assert grown.limit == at_once.limit == 32
    assert np.array_equal(grown.counts, at_once.counts)


@given(first=VALUES, second=VALUES)
def test_the_order_of_the_parts_does_not_matter(first: Array, second: Array) -> None:
    one, other = histogram_of(first, second), histogram_of(second, first)
    assert one.limit == other.limit
    assert np.array_equal(one.counts, other.counts)
    assert one.counts.sum() == first.size + second.size


@given(values=VALUES)
def test_every_value_is_in_the_bin_that_holds_it(values: Array) -> None:
    histogram = histogram_of(values)
    seen = np.repeat(histogram.centres, histogram.counts)
    assert np.abs(np.sort(values.astype(np.float64)) - seen).max() <= histogram.width / 2 * (1 + 1e-4)


def test_zeros_alone_are_counted_too() -> None:
    histogram = histogram_of(np.zeros(7, np.float32))
    assert histogram.counts[HALF] == 7
    assert histogram.counts.sum() == 7


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    observed = ActivationObserver()
    for scale in (1e-6, 1, 1e6):
        observed.add(np.full(10_000, scale, np.float32))
    assert observed.histogram.counts.size == 2 * HALF


def test_a_moving_average_forgets_slowly() -> None:
    observed = ActivationObserver()
    for low, high in ((-1.0, 2.0), (-3.0, 1.0)):
        observed.add(np.array([low, 0, high], np.float32))
    assert observed.moving == pytest.approx((SMOOTHING * -1 + (1 - SMOOTHING) * -3, SMOOTHING * 2 + (1 - SMOOTHING)))
    assert (observed.minimum, observed.maximum) == (-3, 2)


def test_channels_keep_their_own_extremes_and_means() -> None:
    images = np.random.default_rng(0).normal(0, 3, (5, 4, 6, 3)).astype(np.float32)
    observer = ChannelObserver(3)
    assert [observer.add(image) for image in images] == [(image.min(), image.max()) for image in images]
    channels = images.reshape(-1, 3)
    assert np.array_equal(observer.minimum, channels.min(axis=0))
    assert np.array_equal(observer.maximum, channels.max(axis=0))
    assert np.allclose(observer.mean, channels.mean(axis=0), atol=1e-6)
