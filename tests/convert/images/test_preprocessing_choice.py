"""Labelled images choose the preprocessing that nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest

from convert.images.dataset import ImageSet
from convert.images.preprocessing_choice import BEHIND, most_likely
from tests.convert.images.sure_network import GIVEN, UNIT, WAYS, Network, noise, numbered_pictures, runs_of

ALL = {"tf": GIVEN, **{name.removeprefix("--preprocessing "): spec for name, spec in WAYS.items()}}


@pytest.fixture
def pictures(tmp_path: Path) -> ImageSet:
    return numbered_pictures(tmp_path)


def test_the_one_that_makes_a_network_right_is_chosen_after_a_few_images(pictures: ImageSet) -> None:
    network = Network({UNIT: lambda i: 3 + noise(i)})
    chosen = most_likely(runs_of(network, pictures), ALL)
    assert chosen is not None
    assert (chosen.name, chosen.images, chosen.accuracy) == ("unit", 20, 1.0)
    ((next_best, accuracy),) = chosen.others.items()
    assert next_best in ("tf", "none", "torch"), "all are chance"
    assert chosen.words == (
        "--preprocessing was not given: unit was chosen, with which the float network is right on 100% of 20 labelled "
        f"images, {accuracy:.0%} with {next_best}; pass it, or write it into irv2.toml"
    )
    assert [network.runs[ALL[name]] for name in ("tf", "none", "torch")] == [20, 20, 20]


def test_what_is_not_told_apart_is_said(pictures: ImageSet) -> None:
    network = Network({UNIT: lambda i: 1 + noise(i), GIVEN: lambda i: 1 + noise(199 - i)})
    chosen = most_likely(runs_of(network, pictures), ALL)
    assert chosen is not None
    ((other, accuracy),) = chosen.others.items()
    assert {chosen.name, other} == {"tf", "unit"}
    assert chosen.images == max(BEHIND)
    assert f"{accuracy:.0%} with {other}; pass it" in chosen.words


def test_contrast_alone_chooses_nothing_that_is_right_less_often(pictures: ImageSet) -> None:
    """With pixels from 0 to 1 the network is far surer, and wrong on every tenth picture."""
    network = Network({GIVEN: lambda _: 0.5, UNIT: lambda i: -5 if i % 10 == 0 else 9})
    chosen = most_likely(runs_of(network, pictures), ALL)
    assert chosen is not None
    assert (chosen.name, chosen.accuracy) == ("tf", 1.0)
    assert chosen.others == {"unit": pytest.approx(0.9, abs=0.03)}


def test_a_network_that_guesses_chooses_nothing(pictures: ImageSet) -> None:
    assert most_likely(runs_of(Network({}), pictures), ALL) is None


def test_a_few_images_choose_nothing(pictures: ImageSet) -> None:
    assert most_likely(runs_of(Network({UNIT: lambda i: 3 + noise(i)}), pictures[:19]), ALL) is None
