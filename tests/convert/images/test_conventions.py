"""Keras' conventions against Keras itself, and what a file may say instead."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from convert.errors import SourceError
from convert.images.conventions import CONVENTIONS, GEOMETRIES, fitted, fitted_alike, input_spec, says_geometry
from edge_runtime import InputSpec
from edge_runtime.preprocess import load_pixels, normalize


@pytest.mark.parametrize("mode", ["tf", "caffe", "torch"])
def test_conventions_are_keras_own(mode: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    spec = input_spec(mode, 6, 5)
    ours = normalize(load_pixels(picture, spec), spec)
    preprocess = keras.applications.imagenet_utils.preprocess_input
    theirs = preprocess(picture.astype(np.float32), data_format="channels_last", mode=mode)
    assert np.allclose(ours, theirs, atol=2e-5)


def test_none_feeds_the_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    spec = input_spec("none", 6, 5)
    assert np.array_equal(normalize(load_pixels(picture, spec), spec), picture)


def test_sizes_are_the_networks() -> None:
    for name in CONVENTIONS:
        spec = input_spec(name, 30, 40)
        assert (spec.height, spec.width, spec.resize, spec.crop_fraction) == (30, 40, "bilinear", 1.0)


def test_conventions_decode_large_jpegs_at_a_fraction_and_files_say_what_they_want(tmp_path: Path) -> None:
    few = {"mean": [1, 2, 3], "std": [4, 5, 6]}
    assert {input_spec(name, 30, 40).decode for name in CONVENTIONS} == {"scaled"}
    assert input_spec(save_json(tmp_path, few), 30, 40).decode == "full"
    assert input_spec(save_json(tmp_path, {**few, "decode": "scaled"}), 30, 40).decode == "scaled"


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("options", [{"subsampling": 2}, {"subsampling": 0}, {"progressive": True}])
def test_large_jpegs_are_decoded_as_tensorflow_does(scale: int, options: dict[str, Any]) -> None:
    """`decode_jpeg` of TensorFlow at the ratio that the rule gives, cropped nowhere and left at its size."""
    coarse = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((251, 187)).save(file, "JPEG", **options)
    height, width = -(-187 // scale), -(-251 // scale)
    theirs = tf.io.decode_jpeg(file.getvalue(), ratio=scale, dct_method="INTEGER_ACCURATE").numpy()
    assert theirs.shape == (height, width, 3)

    tensor = (int(187 / scale / 2), int(251 / scale / 2))
    spec = replace(input_spec("none", *tensor), resize="nearest")
    ours = load_pixels(file.getvalue(), spec)

    rows, columns = ((np.arange(n) + 0.5) * side / scale / n for n, side in zip(tensor, (187, 251), strict=True))
    assert np.array_equal(ours, theirs[np.ix_(rows.astype(int), columns.astype(int))])


def save_json(folder: Path, value: Any) -> str:
    path = folder / "preprocessing.json"
    path.write_text(json.dumps(value))
    return str(path)


def test_a_file_says_as_little_as_mean_and_std(tmp_path: Path) -> None:
    path = save_json(tmp_path, {"mean": [1, 2, 3], "std": [4, 5, 6]})
    assert input_spec(path, 30, 40) == InputSpec(30, 40, mean=(1, 2, 3), std=(4, 5, 6))


def test_a_number_is_for_all_channels(tmp_path: Path) -> None:
    path = save_json(tmp_path, {"mean": 127, "std": 128.0})
    assert input_spec(path, 30, 40) == InputSpec(30, 40, mean=(127, 127, 127), std=(128, 128, 128))
    assert input_spec(path, 30, 40, 1) == InputSpec(30, 40, mean=(127,), std=(128,), channels=1)


def test_a_file_says_everything_a_card_says(tmp_path: Path) -> None:
    spec = InputSpec(30, 40, (1, 2, 3), (4, 5, 6), "BGR", "bicubic", crop_fraction=0.875, decode="scaled")
    assert input_spec(save_json(tmp_path, spec.to_json()), 30, 40) == spec


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"std": [1, 1, 1]}, 'it has no \'mean\'; write it as {"mean": [127, 127, 127], "std": 128}'),
        ({"mean": [1, 1], "std": [1, 1, 1]}, "mean"),
        ({"mean": [1, 1, 1], "std": [1, 0, 1]}, "std"),
        ({"mean": "grey", "std": [1, 1, 1]}, "'g'"),
        ({"mean": [0, 0, 0], "std": [1, 1, 1], "resize": "best"}, "best"),
        ({"mean": [0, 0, 0], "std": [1, 1, 1], "channel_order": "GBR"}, "GBR"),
        ({"mean": [0, 0, 0], "std": [1, 1, 1], "crop_fraction": 2}, "2"),
        ({"mean": [0, 0, 0], "std": [1, 1, 1], "crop": 0.9}, "'crop' is none of height"),
        ({"mean": [0, 0, 0], "std": [1, 1, 1], "decode": "quick"}, "decode 'quick'"),
        ([1, 2, 3], "preprocessing.json"),
        ("tf", "preprocessing.json"),
        (None, "preprocessing.json"),
    ],
)
def test_a_file_that_says_nonsense_is_refused_in_one_line(value: Any, named: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"preprocessing\.json does not describe how images are prepared") as caught:
        input_spec(save_json(tmp_path, value), 30, 40)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_a_file_that_is_no_json_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "preprocessing.json"
    path.write_bytes(content)
    with pytest.raises(
        SourceError, match=r"does not describe how images are prepared|is not valid JSON: .*; write it as"
    ):
        input_spec(str(path), 30, 40)


def test_a_file_for_another_size_is_refused(tmp_path: Path) -> None:
    path = save_json(tmp_path, {"mean": [0, 0, 0], "std": [1, 1, 1], "height": 30, "width": 41})
    with pytest.raises(SourceError, match="makes 30x41 images, the network takes 30x40"):
        input_spec(path, 30, 40)


@pytest.mark.parametrize("name", ["imagenet", "TF", "missing.json", ""])
def test_an_unknown_convention_is_named(name: str) -> None:
    with pytest.raises(
        SourceError, match=f"--preprocessing {name} is neither tf, caffe, torch, unit, none nor a JSON file"
    ):
        input_spec(name, 30, 40)


def test_a_file_says_how_pictures_are_fitted_and_a_convention_does_not(tmp_path: Path) -> None:
    plain = {"mean": [0, 0, 0], "std": [1, 1, 1]}
    file, other = tmp_path / "a.json", tmp_path / "b.json"
    file.write_text(json.dumps(plain | {"fit": "pad", "pad_color": 114}))
    other.write_text(json.dumps(plain))
    assert [says_geometry(each) for each in ("tf", str(file), str(other))] == [False, True, False]


@pytest.mark.parametrize("fit", [*GEOMETRIES, "crop:0.5", "pad:124,116,104", "imagenet-tf:256"])
def test_a_convention_is_fitted_as_another_network(fit: str) -> None:
    other = fitted(input_spec("tf", 30, 40), fit)
    assert fitted_alike(input_spec("caffe", 30, 40), "caffe", other).geometry == other.geometry
