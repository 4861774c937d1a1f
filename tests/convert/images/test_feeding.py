"""What a front and the user say of a network's images becomes one specification, or an error that names both."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as given_by
from hypothesis import strategies as st

from convert.errors import SourceError
from convert.images.conventions import CONVENTIONS, input_spec
from convert.images.feeding import FrontResize, Scaling, feeding
from edge_runtime.preprocess import load_pixels, normalize

SIZE = (6, 5, 3)
FILE = Path("mine.keras")
PICTURE = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
SILENT = Scaling((0, 1, 2), (1.0,) * 3, (0.0,) * 3)
TF = Scaling((0, 1, 2), (1 / 127.5,) * 3, (-1.0,) * 3, layers=("Rescaling(1/127.5, -1)",))
CAFFE = Scaling((2, 1, 0), (1.0,) * 3, (-103.939, -116.779, -123.68), layers=("Add",))
STD = np.array([0.229, 0.224, 0.225])
TORCH_OF_UNIT = Scaling(
    (0, 1, 2), tuple(1 / STD), tuple(-np.array([0.485, 0.456, 0.406]) / STD), layers=("Normalization",)
)


def applied(scaling: Scaling, images: np.ndarray) -> np.ndarray:
    return images[..., list(scaling.source)] * np.array(scaling.scale) + scaling.shift


@pytest.mark.parametrize(
    ("scaling", "convention"), [(TF, "tf"), (CAFFE, "caffe"), (Scaling((0, 1, 2), (1 / 255,) * 3, (0.0,) * 3), "unit")]
)
def test_a_front_on_pixels_alone_is_the_convention(scaling: Scaling, convention: str) -> None:
    for named in (None, "none"):
        assert feeding(scaling, named, FILE, SIZE) == input_spec(convention, *SIZE)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_silent_file_is_fed_as_the_user_says(convention: str) -> None:
    assert feeding(SILENT, convention, FILE, SIZE) == input_spec(convention, *SIZE)


def test_a_silent_file_and_a_silent_user_are_an_error() -> None:
    with pytest.raises(
        SourceError, match=r"mine\.keras does not say how its images were prepared: pass --preprocessing"
    ) as raised:
        feeding(SILENT, None, FILE, SIZE)
    assert set(CONVENTIONS) <= set(re.findall(r"\w+", str(raised.value)))


@pytest.mark.parametrize("convention", ["tf", "torch", "caffe", "unit"])
def test_a_convention_that_would_scale_again_is_refused(convention: str) -> None:
    message = rf"mine.keras scales its pixels itself \(Rescaling\(1/127.5, -1\)\), .* {convention} .* leave it out"
    with pytest.raises(SourceError, match=message):
        feeding(TF, convention, FILE, SIZE)


def test_a_file_may_add_how_pixels_are_read_to_a_front(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"mean": [127.5] * 3, "std": [127.5] * 3, "crop_fraction": 0.875, "resize": "bicubic"}))
    for scaling in (TF, Scaling(TF.source, TF.scale, TF.shift, resize=FrontResize("nearest", "crop"))):
        found = feeding(scaling, str(path), FILE, SIZE)
        assert (found.mean, found.geometry, found.resize) == ((127.5,) * 3, "stretch 0.875", "bicubic")
    path.write_text(json.dumps({"mean": [0] * 3, "std": [1] * 3, "crop_fraction": 0.5}))
    assert feeding(TF, str(path), FILE, SIZE).std == (127.5,) * 3
    path.write_text(json.dumps({"mean": [127.5] * 3, "std": [120] * 3}))
    with pytest.raises(SourceError, match="leave it out"):
        feeding(TF, str(path), FILE, SIZE)


def test_what_takes_scaled_values_asks_how_and_composes() -> None:
    with pytest.raises(SourceError, match=r"scaled already \(Normalization\).* or write it into irv2\.toml: unit if"):
        feeding(TORCH_OF_UNIT, None, FILE, SIZE)
    composed, torch = feeding(TORCH_OF_UNIT, "unit", FILE, SIZE), input_spec("torch", *SIZE)
    assert composed.mean == pytest.approx(torch.mean, rel=1e-9)
    assert composed.std == pytest.approx(torch.std, rel=1e-9)


def test_the_resizing_of_a_front_is_the_cards() -> None:
    scaling = Scaling(TF.source, TF.scale, TF.shift, resize=FrontResize("bicubic"))
    assert feeding(scaling, None, FILE, SIZE).resize == "bicubic"


def test_a_file_that_says_nothing_of_shapes_leaves_them_to_the_front(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"mean": [127.5] * 3, "std": [127.5] * 3}))
    scaling = Scaling(TF.source, TF.scale, TF.shift, resize=FrontResize("nearest", "crop"))
    assert feeding(scaling, str(path), FILE, SIZE).geometry == "crop"


def test_what_a_front_pads_with_is_a_colour_of_pixels() -> None:
    """A front that pads with 0, 0.5 and 1 takes what `torch` makes of pixels, in either order of channels."""
    pad = FrontResize("tf-bilinear", "pad", (0.0, 0.5, 1.0))
    torch = pad.applied(input_spec("torch", *SIZE))
    assert (torch.pad_color, torch.decode) == ((124, round(116.28 + 0.5 * 57.12), round(103.53 + 57.375)), "full")
    assert pad.applied(input_spec("caffe", *SIZE)).pad_color == (125, 117, 104)  # 0 is of the channel B


CHANNELS = st.tuples(*[st.floats(0.01, 300)] * 3)
SHIFTS = st.tuples(*[st.floats(-300, 300)] * 3)


@given_by(st.sampled_from([(0, 1, 2), (2, 1, 0)]), CHANNELS, SHIFTS, st.sampled_from(sorted(CONVENTIONS)))
def test_one_specification_does_what_both_do(
    source: tuple[int, ...], scale: tuple[float, ...], shift: tuple[float, ...], convention: str
) -> None:
    """The oracle prepares as the user says, then does what the front does, in double precision."""
    front, said = Scaling(source, scale, shift), input_spec(convention, *SIZE)
    order = slice(None, None, -1) if said.channel_order == "BGR" else slice(None)
    expected = applied(front, (PICTURE[..., order] - np.array(said.mean)) / said.std)
    made = front.behind(said)
    found = normalize(load_pixels(PICTURE, made), made)
    largest = np.abs(np.array(made.mean)) / made.std + 255 / np.array(made.std)
    assert np.all(np.abs(found - expected) <= 1e-6 * largest + 1e-6)
    assert np.allclose(front.undone(expected), (PICTURE[..., order] - np.array(said.mean)) / said.std, atol=1e-3)


@given_by(CHANNELS, SHIFTS, st.sampled_from(["tf", "caffe", "torch"]))
def test_the_front_between_two_specifications_makes_one_of_the_other(
    scale: tuple[float, ...], shift: tuple[float, ...], convention: str
) -> None:
    said = input_spec(convention, *SIZE)
    made = Scaling((2, 1, 0), scale, shift).behind(said)
    again = Scaling.between(said, made).behind(said)
    assert again.channel_order == made.channel_order
    assert np.allclose([*again.mean, *again.std], [*made.mean, *made.std], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("convention", ["tf", "unit", "none"])
def test_grey_networks_have_conventions_of_one_number(convention: str) -> None:
    spec = input_spec(convention, 6, 5, 1)
    assert (spec.channels, len(spec.mean), len(spec.std)) == (1, 1, 1)
    assert normalize(load_pixels(PICTURE, spec), spec).shape == (6, 5, 1)


@pytest.mark.parametrize("convention", ["torch", "caffe"])
def test_conventions_of_three_channels_are_not_for_grey(convention: str) -> None:
    with pytest.raises(SourceError, match=r"is for three channels, .* grey images: pass tf\|unit\|none or a JSON file"):
        input_spec(convention, 6, 5, 1)


def test_a_file_of_a_grey_network_has_one_number(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"mean": [33.3], "std": [78.6]}))
    assert input_spec(str(path), 6, 5, 1).mean == (33.3,)
    with pytest.raises(SourceError, match="3 finite numbers each"):
        input_spec(str(path), 6, 5)
