"""What a card says of preprocessing: written, read, and refused where it makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from edge_runtime import ArtifactError, InputSpec
from tests.edge_runtime.pictures import spec


def test_a_specification_survives_json() -> None:
    written = InputSpec(299, 139, (1.5, 2.0, 3.0), (4.0, 5.0, 6.5), "BGR", "lanczos", 0.875, "scaled")
    assert InputSpec.from_json(written.to_json()) == written


def test_whole_numbers_are_written_as_they_will_be_read() -> None:
    written = InputSpec(8, 8, (0, 0, 0), (1, 1, 1), crop_fraction=1)
    assert repr(written.to_json()) == repr(InputSpec.from_json(written.to_json()).to_json())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 0}, "size 0x4"),
        ({"width": 5000}, "size 4x5000"),
        ({"mean": (1.0, 2.0)}, "3 finite numbers"),
        ({"mean": (1.0, 2.0, float("nan"))}, "3 finite numbers"),
        ({"std": (1.0, 0.0, 1.0)}, "must be positive"),
        ({"channel_order": "GBR"}, "channel order 'GBR'"),
        ({"resize": "box"}, "resize filter 'box'"),
        ({"crop_fraction": 0.0}, "crop fraction 0.0"),
        ({"crop_fraction": 1.5}, "crop fraction 1.5"),
        ({"decode": "quick"}, r"decode 'quick' is none of \('full', 'scaled'\)"),
    ],
)
def test_senseless_specifications_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        spec(**{"height": 4, "width": 4, **changes})


@pytest.mark.parametrize(
    "damage",
    [
        {"exif": "ignore"},
        {"mean": None},
        {"height": "tall"},
        {"height": float("inf")},
        {"crop_fraction": []},
        {"decode": None},
        {"gamma": 2.2},
    ],
)
def test_damaged_descriptions_are_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="preprocessing"):
        InputSpec.from_json({**spec(4, 4).to_json(), **damage})


@pytest.mark.parametrize("key", ["height", "width", "mean", "std", "channel_order", "resize", "crop_fraction", "exif"])
def test_nothing_in_a_description_has_a_default_but_decode(key: str) -> None:
    description = spec(4, 4).to_json()
    del description[key]
    with pytest.raises(ArtifactError, match=f"not described completely.*{key}"):
        InputSpec.from_json(description)


def test_a_description_without_decode_is_of_whole_decoding() -> None:
    assert "decode" not in spec(4, 4).to_json()
    assert InputSpec.from_json(spec(4, 4).to_json()).decode == "full"


def test_what_a_later_version_may_add_is_refused_by_name() -> None:
    with pytest.raises(ArtifactError, match="'gamma' is not known to this version: update irv2-edge"):
        InputSpec.from_json({**spec(4, 4).to_json(), "gamma": 2.2})
