"""Logits, however a network ends, and how close is close enough to be the same network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from convert.errors import LoweringError
from convert.lowering.keras_comparison import checked_sqnr_db, keras_logits
from tests.convert.lowering.endings import ENDS, SHAPE, SIGMOIDS, loaded

Array = npt.NDArray[Any]


@pytest.mark.parametrize("name", ENDS)
def test_keras_logits_are_what_the_softmax_reads(name: str, tmp_path: Path) -> None:
    model = loaded(ENDS[name], tmp_path)
    images = np.random.default_rng(5).normal(0, 1, (3, *SHAPE)).astype(np.float32)
    weights = [value.copy() for value in model.get_weights()]
    logits = keras_logits(model, images)
    assert logits.shape == (3, 4)
    powers = np.exp(logits)
    assert np.allclose(powers / powers.sum(axis=1, keepdims=True), model.predict_on_batch(images), atol=1e-6)
    assert np.abs(logits.sum(axis=1) - 1).max() > 1e-3, "not the probabilities themselves"
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


@pytest.mark.parametrize("name", SIGMOIDS)
def test_keras_logits_are_what_the_sigmoids_read(name: str, tmp_path: Path) -> None:
    model = loaded(SIGMOIDS[name], tmp_path)
    images = np.random.default_rng(5).normal(0, 1, (3, *SHAPE)).astype(np.float32)
    logits = keras_logits(model, images)
    assert logits.shape == (3, 4)
    assert np.allclose(1 / (1 + np.exp(-logits)), model.predict_on_batch(images), atol=1e-6)


def test_a_shift_of_independent_logits_counts() -> None:
    assert checked_sqnr_db(LOGITS, LOGITS, "independent") == 999
    with pytest.raises(LoweringError, match=r"agree to .* dB only"):
        checked_sqnr_db(LOGITS, LOGITS + 1, "independent")


def noisy(logits: Array, db: float) -> Array:
    """The logits with centred noise so far below them."""
    noise = np.random.default_rng(1).normal(0, 1, logits.shape)
    noise -= noise.mean(axis=1, keepdims=True)
    signal = logits - logits.mean(axis=1, keepdims=True)
    return np.asarray(logits + noise * np.sqrt((signal**2).sum() / (noise**2).sum()) * 10 ** (-db / 20))


LOGITS = np.random.default_rng(0).normal(0, 3, (8, 10))


def test_80_db_is_the_same_network_and_79_is_not() -> None:
    assert checked_sqnr_db(LOGITS, noisy(LOGITS, 80.1)) == pytest.approx(80.1, abs=0.01)
    with pytest.raises(LoweringError, match=r"agree to 79\.9 dB only, at least 80 dB are required"):
        checked_sqnr_db(LOGITS, noisy(LOGITS, 79.9))


def test_what_a_softmax_forgets_does_not_count() -> None:
    assert checked_sqnr_db(LOGITS, LOGITS + 7) > 200
    assert checked_sqnr_db(LOGITS, LOGITS) == 999, "a number that JSON can hold"


def test_logits_that_hardly_spread_say_nothing() -> None:
    """Near-uniform answers agree while they are wrong."""
    flat = 1 + LOGITS * 1e-5
    with pytest.raises(
        LoweringError, match=r"logits vary by only 2\.7e-05 over its classes, so its answers mean nothing"
    ):
        checked_sqnr_db(flat, flat)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_refused(value: float) -> None:
    broken = LOGITS.copy()
    broken[2, 3] = value
    with pytest.raises(LoweringError, match="NaN or infinity"):
        checked_sqnr_db(broken, broken)
    with pytest.raises(LoweringError, match="agree to nan dB only"):
        checked_sqnr_db(LOGITS, np.where(np.isfinite(broken), LOGITS, np.nan))
