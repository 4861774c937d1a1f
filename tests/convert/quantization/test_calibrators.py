"""Each calibrator against a slow NumPy computation of what it is meant to find, and what is true of all of them.

Histograms against NumPy's own, whatever the order and the parts in which values come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convert.quantization.calibrators import (
    CALIBRATORS,
    FRACTIONS,
    HALF,
    LEVELS,
    OUTSIDE,
    Histogram,
    ObservedActivation,
    Range,
    entropy,
    mean_squared_error,
    percentile,
)

Array = npt.NDArray[Any]
Calibrator = Callable[[ObservedActivation], Range]
EACH = pytest.mark.parametrize("calibrator", CALIBRATORS.values(), ids=CALIBRATORS)
VALUES = arrays(np.float32, st.integers(1, 60), elements=st.floats(-100, 100, width=32, allow_subnormal=False))
WIDE_VALUES = arrays(np.float32, st.integers(1, 40), elements=st.floats(-1000, 1000, width=32))


def seen(*images: Array) -> ObservedActivation:
    """What is known of an activation of one channel, all of whose values were counted."""
    histogram = Histogram()
    for image in images:
        histogram.add(np.asarray(image, np.float32))
    ends = [(float(np.min(image)), float(np.max(image))) for image in images]
    low, high = min(0.0, *(end[0] for end in ends)), max(0.0, *(end[1] for end in ends))
    return ObservedActivation(low, high, ends[0], histogram)


def quantized(values: Array, ends: Range) -> Array:
    """real = scale * (q - zero_point), written out."""
    scale = (ends[1] - ends[0]) / LEVELS
    zero_point = round(-ends[0] / scale)
    return np.asarray(scale * (np.clip(np.rint(values / scale) + zero_point, 0, LEVELS) - zero_point))


def heavy_tailed(count: int = 50_000) -> Array:
    return np.abs(np.random.default_rng(0).standard_t(3, count)).astype(np.float32)


@EACH
@given(values=VALUES)
def test_a_range_covers_zero_and_goes_no_further_than_the_values(calibrator: Calibrator, values: Array) -> None:
    low, high = calibrator(seen(values))
    assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), 0)
    assert np.isfinite([low, high]).all()


@EACH
@given(values=VALUES)
def test_inside_a_range_nothing_is_off_by_more_than_half_a_step(calibrator: Calibrator, values: Array) -> None:
    ends = calibrator(seen(values))
    scale = (ends[1] - ends[0]) / LEVELS
    inside = values[(values >= ends[0]) & (values <= ends[1])].astype(np.float64)
    if scale > 1e-30 and inside.size:
        exact_ends = (ends[0], ends[1])
        # The zero point is rounded, which moves the ends of the range by up to half a step.
        assert np.abs(quantized(inside, exact_ends) - inside).max() <= scale * (1 + 1e-6)
        middle = inside[(inside > ends[0] + scale) & (inside < ends[1] - scale)]
        assert np.abs(quantized(middle, exact_ends) - middle).max(initial=0) <= scale / 2 * (1 + 1e-6)


@EACH
def test_values_that_are_all_zero_have_an_empty_range(calibrator: Calibrator) -> None:
    assert calibrator(seen(np.zeros(9))) == (0, 0)


@EACH
def test_a_constant_is_kept(calibrator: Calibrator) -> None:
    low, high = calibrator(seen(np.full(1000, 5.0)))
    assert low == 0
    assert high == pytest.approx(5, rel=0.01)


@given(first=VALUES, second=VALUES)
def test_min_max_only_grows_with_more_images(first: Array, second: Array) -> None:
    low, high = CALIBRATORS["minmax"](seen(first))
    lower, higher = CALIBRATORS["minmax"](seen(first, second))
    assert lower <= low
    assert high <= higher


def test_percentile_leaves_its_part_outside() -> None:
    values = np.random.default_rng(1).normal(0, 1, 200_000).astype(np.float32)
    observed = seen(*np.split(values, 10))
    expected = np.quantile(values, [OUTSIDE, 1 - OUTSIDE])
    assert percentile(observed) == pytest.approx(expected, abs=2 * observed.histogram.width)


def bulk_and_one_outlier(outlier: float) -> list[Array]:
    """20 images with values from -1 to 1, and somewhere a single one far out."""
    images = list(np.random.default_rng(2).uniform(-1, 1, (20, 60_000)).astype(np.float32))
    images[7][99] = outlier
    return images


def test_mean_squared_error_is_as_small_as_any_range_of_the_grid_gives() -> None:
    images = [np.abs(image) for image in bulk_and_one_outlier(20)]
    values = np.concatenate(images).astype(np.float64)
    ends = mean_squared_error(seen(*images))
    errors = [float(np.mean((quantized(values, (0, f * values.max())) - values) ** 2)) for f in FRACTIONS]
    assert np.mean((quantized(values, ends) - values) ** 2) <= min(errors) * 1.01
    assert ends[1] < 10


def test_mean_squared_error_clips_each_side_by_itself() -> None:
    low, high = mean_squared_error(seen(*bulk_and_one_outlier(20)))
    assert low == pytest.approx(-1, abs=0.05)
    assert 1 <= high < 10


def test_entropy_finds_the_smallest_divergence() -> None:
    """The textbook loop over ranges, on the same bins, with scipy's divergence."""
    observed = seen(heavy_tailed())
    counts = observed.histogram.counts[2048:].astype(float)
    counts[0] = 0
    used = int(np.flatnonzero(counts)[-1]) + 1
    divergences = {}
    for length in range(used, LEVELS, -8):
        exact = counts[:length].copy()
        rounded = np.zeros(length)
        for level in range(LEVELS):
            members = [k for k in range(length) if k * LEVELS // length == level and exact[k] > 0]
            if members:
                rounded[members] = exact[members].sum() / len(members)
        exact[-1] += counts[length:].sum()
        if not np.any((exact > 0) & (rounded == 0)):
            divergences[length] = float(scipy.stats.entropy(exact, rounded))
    best = min(divergences, key=lambda length: divergences[length])
    assert entropy(observed)[1] == pytest.approx(best * observed.histogram.width)


def test_entropy_treats_both_signs_alike() -> None:
    values = heavy_tailed()
    low, high = entropy(seen(np.concatenate([values, -values])))
    assert low == -high


def test_the_average_range_is_that_of_the_moving_averages_and_zero() -> None:
    assert CALIBRATORS["average"](ObservedActivation(-5.0, 9.0, (1.0, 3.0), Histogram())) == (0, 3)
    assert CALIBRATORS["average"](ObservedActivation(-5.0, 9.0, (-3.0, -1.0), Histogram())) == (-3, 0)


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


@given(first=WIDE_VALUES, second=WIDE_VALUES)
def test_the_order_of_the_parts_does_not_matter(first: Array, second: Array) -> None:
    one, other = histogram_of(first, second), histogram_of(second, first)
    assert one.limit == other.limit
    assert np.array_equal(one.counts, other.counts)
    assert one.counts.sum() == first.size + second.size


@given(values=WIDE_VALUES)
def test_every_value_is_in_the_bin_that_holds_it(values: Array) -> None:
    histogram = histogram_of(values)
    seen = np.repeat(histogram.centres, histogram.counts)
    assert np.abs(np.sort(values.astype(np.float64)) - seen).max() <= histogram.width / 2 * (1 + 1e-4)


def test_zeros_alone_are_counted_too() -> None:
    histogram = histogram_of(np.zeros(7, np.float32))
    assert histogram.counts[HALF] == 7
    assert histogram.counts.sum() == 7


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    histogram = Histogram()
    for scale in (1e-6, 1, 1e6):
        histogram.add(np.full(10_000, scale, np.float32))
    assert histogram.counts.size == 2 * HALF
