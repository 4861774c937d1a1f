"""A preprocessing that makes a network surer is found, and one that only raises contrast is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert.images.dataset import ImageSet
from convert.images.elimination import LEADS, surer_way
from tests.convert.images.sure_network import GIVEN, UNIT, WAYS, Network, noise, numbered_pictures, runs_of


@pytest.fixture
def pictures(tmp_path: Path) -> ImageSet:
    return numbered_pictures(tmp_path)


def test_a_way_that_is_surer_and_more_often_right_is_found(pictures: ImageSet) -> None:
    network = Network({GIVEN: lambda i: 0.8 + noise(i), UNIT: lambda i: 1.3 + noise(i)})
    found = surer_way(runs_of(network, pictures), WAYS)
    assert found is not None
    assert found[0] == "--preprocessing unit"
    assert network.runs[UNIT] == network.runs[GIVEN] == found[1]


def test_contrast_alone_is_no_better_way(pictures: ImageSet) -> None:
    """Twice the logits: surer of what is right, and right no more often."""
    network = Network({GIVEN: lambda i: 0.8 + noise(i), UNIT: lambda i: 2 * (0.8 + noise(i))})
    assert surer_way(runs_of(network, pictures), WAYS) is None
    assert network.runs[UNIT] == max(LEADS)


def test_ways_that_are_far_behind_are_out_after_three_images(pictures: ImageSet) -> None:
    network = Network({GIVEN: lambda i: 2 + noise(i)})
    assert surer_way(runs_of(network, pictures), WAYS) is None
    assert {network.runs[spec] for spec in WAYS.values()} == {3}


def test_as_good_is_not_better(pictures: ImageSet) -> None:
    network = Network({GIVEN: lambda i: 1 + noise(i), UNIT: lambda i: 1.02 + noise(i)})
    assert surer_way(runs_of(network, pictures), WAYS) is None
    assert network.runs[UNIT] == 20


def test_nothing_is_said_of_a_few_images(pictures: ImageSet) -> None:
    network = Network({GIVEN: noise, UNIT: lambda i: 5 + noise(i)})
    assert surer_way(runs_of(network, pictures[:19]), WAYS) is None


def test_the_first_images_may_be_those_that_cannot_be_read(pictures: ImageSet) -> None:
    for path in pictures.paths[:4]:
        path.write_bytes(b"no picture")
    network = Network({GIVEN: noise, UNIT: lambda i: 5 + noise(i)})
    found = surer_way(runs_of(network, pictures), WAYS)
    assert found is not None
    assert network.runs[UNIT] == found[1] - 4


def test_an_image_that_cannot_be_read_is_left_out_of_all_ways(pictures: ImageSet) -> None:
    pictures.paths[1].write_bytes(b"no picture")
    network = Network({GIVEN: noise, UNIT: lambda i: 5 + noise(i)})
    runs = runs_of(network, pictures)
    assert runs.numbers(5) == [0, 2, 3, 4]
    assert len(runs.log_likelihoods(UNIT, 5)) == 4
    assert surer_way(runs, WAYS) is not None


def test_log_likelihoods_are_those_of_the_true_classes(pictures: ImageSet) -> None:
    """ln(1 / (1 + e^-1)) of every picture; turned channels give the same network the same greys."""
    network = Network({GIVEN: lambda _: 1.0, replace(GIVEN, channel_order="BGR"): lambda _: 0.0})
    runs = runs_of(network, pictures)
    np.testing.assert_allclose(runs.log_likelihoods(GIVEN, 10), [-0.313262] * 10, rtol=1e-5)
    np.testing.assert_allclose(runs.log_likelihoods(replace(GIVEN, channel_order="BGR"), 3), [-0.693147] * 3, rtol=1e-5)
    assert runs.right(GIVEN, 10).all()
