"""A float network that trials ask is run once for one tensor, whichever ways of preparing pictures lead there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from convert.images.trial_runs import scores_of
from edge_runtime.arrays import Array
from edge_runtime.engines import Engine
from tests.conftest import SIZE
from tests.convert.images.colour_network import TF, colour_network

BGR = replace(TF, channel_order="BGR")
"""Of the same scaling: pixels come to `scores_of` in the order that they are asked in."""


@pytest.fixture(scope="module")
def network() -> bytes:
    return colour_network()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Array]:
    """What an engine is given from now on."""
    given, run = list[Array](), Engine.run

    def noted(engine: Engine, tensor: Array) -> Array:
        given.append(tensor)
        return run(engine, tensor)

    monkeypatch.setattr(Engine, "run", noted)
    return given


def test_a_tensor_is_run_once(network: bytes, runs: list[Array]) -> None:
    rng, scores = np.random.default_rng(0), scores_of(network)
    grey, coloured = (rng.integers(256, size=(2, SIZE, SIZE, channels), dtype=np.uint8) for channels in (1, 3))
    greys = np.repeat(grey, 3, axis=3)
    first = scores(TF, list(greys))
    assert len(runs) == 2
    assert np.array_equal(scores(BGR, list(greys[..., ::-1])), first)
    assert len(runs) == 2, "turned round, a grey picture is the same"
    assert not np.array_equal(scores(TF, list(coloured)), first)
    scores(BGR, list(coloured[..., ::-1]))
    assert len(runs) == 6


def test_answers_come_in_the_order_of_the_pictures(network: bytes) -> None:
    pixels = list(np.random.default_rng(1).integers(256, size=(9, SIZE, SIZE, 3), dtype=np.uint8))
    alone = [scores_of(network)(TF, [each])[0] for each in pixels]
    assert len({answer.tobytes() for answer in alone}) == len(pixels)
    assert np.array_equal(scores_of(network)(TF, pixels), np.stack(alone))
