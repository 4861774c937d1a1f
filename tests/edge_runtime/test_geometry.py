"""Pictures of any shape become the tensor's: pixels equal to those of Pillow, torchvision, Keras and TensorFlow.

What torchvision does is written here as the calls of Pillow that it makes (`torchvision.transforms.functional`, version
0.20); TensorFlow is called itself.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from edge_runtime import ArtifactError
from edge_runtime.conventions import GEOMETRIES, fit_text, fitted, input_spec
from edge_runtime.geometry import CROP, FITS_AS, MOST_RESIZED, PAD, PLACES, place
from edge_runtime.preprocess import Pixels, load_pixels
from edge_runtime.specs import InputSpec
from tests.edge_runtime.pictures import spec

SHAPES = [(375, 500), (500, 375), (241, 242), (299, 299), (67, 100), (33, 20), (1, 9), (9, 1), (13, 400), (1, 1)]
"""Heights and widths: photographs, odd ones, such as are smaller than the tensor, and narrow ones."""
TENSORS = [(32, 32), (24, 41)]


def golden(height: int, width: int) -> Pixels:
    """A picture with edges, gradients and noise."""
    rng = np.random.default_rng([height, width])
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([rows * 255 / height, columns * 255 / width, 127 + 127 * np.sin((rows + columns) / 5)], axis=2)
    noise = rng.integers(-40, 40, (height, width, 3))
    edges = 80 * ((rows // 7 + columns // 11) % 2)[..., np.newaxis]
    return np.asarray((smooth + noise + edges).clip(0, 255), np.uint8)


def prepared(fit: str, tensor: tuple[int, int]) -> InputSpec:
    return fitted(spec(*tensor), fit)


def whole(values: Any) -> Pixels:
    """TensorFlow's fractions, rounded to pixels."""
    return np.asarray(np.rint(np.asarray(values)).clip(0, 255), np.uint8)


# torchvision and timm


def torchvision_resize(image: Image.Image, size: int, chosen: Image.Resampling) -> Image.Image:
    """`Resize(size)`: `_compute_resized_output_size` and `PIL.Image.resize`."""
    width, height = image.size
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = size, int(size * long / short)
    return image.resize((new_short, new_long) if width <= height else (new_long, new_short), chosen)


def torchvision_center_crop(image: Image.Image, side: int) -> Image.Image:
    """`CenterCrop(side)` of an image that is large enough."""
    top, left = round((image.height - side) / 2.0), round((image.width - side) / 2.0)
    return image.crop((left, top, left + side, top + side))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("fit", "side", "resized", "chosen"),
    [
        ("torchvision", 224, 256, "bilinear"),
        ("torchvision:232", 224, 232, "bilinear"),
        ("torchvision", 299, 342, "bilinear"),
        ("torchvision:1", 32, 32, "bilinear"),
        ("timm", 224, 256, "bicubic"),
        ("timm:0.9", 224, 248, "bicubic"),
        ("timm:0.95", 33, 34, "bicubic"),
    ],
)
def test_a_crop_is_torchvisions(fit: str, side: int, resized: int, chosen: str, shape: tuple[int, int]) -> None:
    picture = Image.fromarray(golden(*shape))
    expected = torchvision_center_crop(torchvision_resize(picture, resized, Image.Resampling[chosen.upper()]), side)
    assert np.array_equal(load_pixels(picture, prepared(fit, (side, side))), np.asarray(expected))


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 300), st.integers(1, 300), st.floats(0.3, 1))
def test_what_is_resized_first_covers_the_tensor(w: int, h: int, across: int, down: int, fraction: float) -> None:
    """Whatever the proportions; the side that fits is as long as asked for, the other as its proportions are."""
    placement = place((w, h), (across, down), CROP, "torchvision", fraction)
    size, offset = placement.size, placement.offset
    if placement.box == (0, 0, w, h):
        assert min(size[0] - across - offset[0], size[1] - down - offset[1], *offset) >= 0
        assert min(abs(size[0] - across / fraction), abs(size[1] - down / fraction)) <= 0.5
        assert abs(size[0] * h - size[1] * w) < max(w, h)


def test_a_ribbon_is_cut_before_it_is_resized() -> None:
    """2 x 60,000 pixels to a shorter side of 256 would be 2 gigabytes."""
    ribbon = np.full((2, 60_000, 3), 7, np.uint8)
    ribbon[:, 29_999:30_001] = (250, 100, 30)
    placement = prepared("torchvision", (224, 224)).placement(60_000, 2)
    assert placement.size == (224, 224)
    assert placement.box == pytest.approx((30_000 - 0.875, 0.125, 30_000 + 0.875, 1.875))
    assert np.all(load_pixels(ribbon, prepared("torchvision", (224, 224)))[:, 90:130] == (250, 100, 30))
    assert MOST_RESIZED < 256 * 256 * 30_000


# Keras and TensorFlow


@pytest.mark.parametrize("tensor", TENSORS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("fit", "arguments"),
    [
        ("keras", {}),
        ("keras-crop", {"crop_to_aspect_ratio": True}),
        ("keras-pad:0", {"pad_to_aspect_ratio": True}),
        ("keras-pad:201", {"pad_to_aspect_ratio": True, "fill_value": 201.0}),
    ],
)
def test_pixels_are_those_of_keras(
    fit: str, arguments: dict[str, Any], interpolation: str, shape: tuple[int, int], tensor: tuple[int, int]
) -> None:
    pixels = golden(*shape)
    made = InputSpec(**{**vars(prepared(fit, tensor)), "resize": f"tf-{interpolation}"})
    image = tf.constant(pixels, tf.float32)
    expected = keras.ops.image.resize(image, tensor, interpolation=interpolation, **arguments)
    assert near(load_pixels(pixels, made), expected)


def near(found: Pixels, expected: Any) -> bool:
    """Whether pixels are the nearest to fractions that were summed in another order: equal but for ties."""
    return bool(np.abs(found - np.asarray(expected, np.float64).clip(0, 255)).max() <= 0.5 + 1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_smart_resize_and_load_img_are_those_of_keras(shape: tuple[int, int]) -> None:
    pixels = golden(*shape)
    expected = keras.utils.img_to_array(keras.preprocessing.image.smart_resize(pixels.astype(np.float32), (40, 30)))
    assert near(load_pixels(pixels, prepared("keras-crop", (40, 30))), expected)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    expected = keras.utils.load_img(io.BytesIO(file.getvalue()), target_size=(40, 30))
    assert np.array_equal(load_pixels(file.getvalue(), prepared("load-img", (40, 30))), np.asarray(expected))


@pytest.mark.parametrize("side", [224, 299, 380])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_crop_is_tensorflows(shape: tuple[int, int], side: int) -> None:
    """`_decode_and_center_crop` of the EfficientNet repository, with `tf.image.resize` in place of its older sister."""
    pixels = golden(*shape)
    height, width = tf.constant(shape[0]), tf.constant(shape[1])
    kept = tf.cast((side / (side + 32)) * tf.cast(tf.minimum(height, width), tf.float32), tf.int32)
    kept = tf.maximum(kept, 1)  # the original fails
    top, left = ((height - kept) + 1) // 2, ((width - kept) + 1) // 2
    cut = tf.image.crop_to_bounding_box(pixels, *map(int, (top, left, kept, kept)))
    expected = tf.image.resize(cut, (side, side), "bicubic")
    assert near(load_pixels(pixels, prepared("imagenet-tf", (side, side))), expected)


@pytest.mark.parametrize("tensor", TENSORS)
@pytest.mark.parametrize("shape", SHAPES[:6])
def test_a_letter_box_is_tensorflows(shape: tuple[int, int], tensor: tuple[int, int]) -> None:
    pixels = golden(*shape)
    made = spec(*tensor, fit=PAD, fit_as="tensorflow", resize="tf-bilinear")
    assert near(load_pixels(pixels, made), tf.image.resize_with_pad(pixels, *tensor))


@pytest.mark.parametrize("tensor", TENSORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_letter_box_is_pillows(shape: tuple[int, int], tensor: tuple[int, int]) -> None:
    picture, color = Image.fromarray(golden(*shape)), (124, 116, 104)
    made = spec(*tensor, fit=PAD, fit_as="torchvision", pad_color=color, resize="bicubic")
    expected = ImageOps.pad(picture, tensor[::-1], Image.Resampling.BICUBIC, color)
    assert np.array_equal(load_pixels(picture, made), np.asarray(expected))


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shape", SHAPES)
def test_padding_first_is_resizing_a_larger_picture(
    shape: tuple[int, int], resize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_runtime.resampling.BAND_PIXELS", 700)  # a row or two at a time
    pixels, side = golden(*shape), max(shape)
    beside, above = (side - shape[1]) // 2, (side - shape[0]) // 2
    canvas = np.pad(pixels, ((above, above), (beside, beside), (0, 0)), constant_values=9)
    expected = Image.fromarray(canvas).resize((30, 30), Image.Resampling[resize.upper()])
    made = spec(30, 30, fit=PAD, pad_color=(9,), resize=resize)
    assert np.array_equal(load_pixels(pixels, made), np.asarray(expected))


# Everything together


@pytest.mark.parametrize("fit_as", FITS_AS)
@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("resize", ["bilinear", "tf-bilinear"])
def test_grey_and_turned_channels(fit: str, fit_as: str, resize: str) -> None:
    """A grey network sees the luma of what one of colours sees, padded with its own colour."""
    pixels = golden(50, 80)
    given = {"fit": fit, "fit_as": fit_as, "resize": resize}
    rgb = load_pixels(pixels, spec(24, 32, **given, pad_color=(1, 2, 250)))
    bgr = load_pixels(pixels, spec(24, 32, **given, pad_color=(1, 2, 250), channel_order="BGR"))
    assert np.array_equal(rgb[..., ::-1], bgr)
    grey = np.repeat(np.asarray(Image.fromarray(pixels).convert("L"))[..., np.newaxis], 3, axis=2)
    small = InputSpec(24, 32, (0.0,), (1.0,), channels=1, pad_color=(77,), **given)
    expected = load_pixels(grey, spec(24, 32, **given, pad_color=(77,)))[..., :1]
    assert np.array_equal(load_pixels(pixels, small), expected)


@pytest.mark.parametrize(("fit", "fit_as"), PLACES)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("size", [(800, 1200), (1203, 799)])
def test_a_jpeg_at_a_fraction_lies_where_the_whole_one_does(
    fit: str, fit_as: str, orientation: int, size: tuple[int, int]
) -> None:
    """A smooth picture looks the same at any scale; half a pixel of the tensor off would be 20 values."""
    rows, columns = np.mgrid[: size[0], : size[1]] / 1000
    waves = [127 + 100 * np.sin(6 * rows), 127 + 100 * np.cos(7 * columns), 127 + 100 * np.sin(5 * (rows + columns))]
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(np.stack(waves, axis=2).astype(np.uint8)).save(file, "JPEG", quality=95, exif=exif, subsampling=0)
    more = {"fit": fit, "fit_as": fit_as, "crop_fraction": 1.0 if fit == PAD else 0.875}
    fractions = load_pixels(file.getvalue(), spec(48, 40, **more, decode="scaled")).astype(float)
    full = load_pixels(file.getvalue(), spec(48, 40, **more)).astype(float)
    difference = np.abs(fractions - full)
    assert difference.mean() < 1
    inside = np.s_[6:-6, 6:-6] if fit != PAD else np.s_[20:28, 16:24]  # at the border of a letter box, blends differ
    assert difference[inside].max() <= 4


def test_the_fraction_to_decode_is_that_of_what_is_kept() -> None:
    """Of 4000x1000 pixels a central square of 1000 is kept: 1/4 would be too little for 224, though 4000 / 4 is not."""
    kept = prepared("crop", (224, 224)).placement(4000, 1000)
    assert kept.reduction == pytest.approx((1000 / 224,) * 2)
    assert prepared("pad", (224, 224)).placement(4000, 1000).reduction == pytest.approx((4000 / 224,) * 2)
    assert prepared("torchvision", (224, 224)).placement(4000, 1000).reduction == pytest.approx((1000 / 256,) * 2)


@given(st.sampled_from(sorted(PLACES)), *(st.integers(1, 5000) for _ in range(4)), st.floats(0.01, 1))
def test_every_placement_is_of_something(
    rule: tuple[str, str], w: int, h: int, across: int, down: int, f: float
) -> None:
    placement = place((w, h), (across, down), *rule, f)
    left, top, right, bottom = placement.box
    assert right > left
    assert bottom > top
    assert min(placement.size) >= 1
    assert math.isclose(left + right, w, abs_tol=1.01 + w / 50)
    assert math.isclose(top + bottom, h, abs_tol=1.01 + h / 50)


# What is said of it


@pytest.mark.parametrize("fit", [*GEOMETRIES, "crop:0.5", "stretch:0.9", "pad:124,116,104", "imagenet-tf:256"])
def test_what_is_said_survives_a_card(fit: str) -> None:
    made = prepared(fit, (30, 40))
    assert InputSpec.from_json(made.to_json()) == made


def test_plain_fits_leave_the_filter_and_named_ones_say_it() -> None:
    cubic = spec(224, 224, resize="bicubic", decode="scaled", crop_fraction=0.5)
    assert fitted(cubic, None) is cubic
    assert (fitted(cubic, "crop").resize, fitted(cubic, "crop").crop_fraction) == ("bicubic", 1.0)
    assert fitted(cubic, "torchvision").decode == "scaled"
    assert fitted(cubic, "keras").decode == "full"  # TensorFlow's filters skip pixels: others, at a fraction
    assert fitted(cubic, "imagenet-tf").crop_fraction == 224 / 256
    assert fitted(cubic, "timm:0.9").crop_fraction == 224 / 248
    assert fitted(cubic, "torchvision:232").geometry == "crop 0.9655 as torchvision"
    assert fitted(cubic, "pad:124,116,104").geometry == "pad 124 116 104"
    assert fitted(cubic, "pad:7,7,7").pad_color == (7,)


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        ("squash", "--fit squash is none of stretch, crop, pad, keras"),
        ("torchvison:232", r"timm \(did you mean torchvision\?\)"),
        ("crop:", "write crop or crop:VALUE"),
        ("keras:0.9", "write keras, without a value"),
        ("crop:zero", "zero is not a fraction"),
        ("crop:0", "0 is not a fraction"),
        ("crop:-1", "-1 is not a fraction"),
        ("crop:nan", "nan is not a fraction"),
        ("torchvision:100", "100 is not a fraction within 0..1, or a side"),
        ("pad:256", "256 is not a colour, such as 114"),
        ("pad:1,2", "1,2 is not a colour"),
    ],
)
def test_what_cannot_be_meant_is_refused(fit: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        fitted(spec(224, 224), fit)


@pytest.mark.parametrize(
    "changes",
    [
        {"fit": "squash"},
        {"fit": "crop", "fit_as": "matlab"},
        {"fit": "pad", "crop_fraction": 0.9},
        {"pad_color": (1, 2)},
        {"pad_color": (-1,)},
        {"pad_color": (0.5,)},
        {"pad_color": ("a",)},
    ],
)
def test_senseless_geometry_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"preprocessing: (fit|crop fraction|pad_color)"):
        spec(4, 4, **changes)


def test_a_file_may_say_it(tmp_path: Any) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"mean": [0, 0, 0], "std": [1, 1, 1], "fit": "pad", "pad_color": 114, "resize": "bicubic"}')
    assert input_spec(str(file), 20, 30).geometry == "pad 114"


@pytest.mark.parametrize("side", [224, 299])
@pytest.mark.parametrize(
    "fit",
    [*GEOMETRIES, "torchvision:342", "timm:0.9", "timm:0.95", "crop:0.9", "stretch:0.875", "pad:7", "keras-pad:1,2,3"],
)
def test_a_geometry_is_said_as_it_was_said(fit: str, side: int) -> None:
    silent = input_spec("torch", side, side)
    said = fit_text(fitted(silent, fit))
    assert said is not None
    assert fitted(silent, said) == fitted(silent, fit)
    assert said.partition(":")[0] == fit.partition(":")[0]


def test_a_geometry_that_no_word_stands_for_has_none() -> None:
    assert fit_text(replace(input_spec("tf", 224, 224), fit="crop", fit_as="torchvision", resize="lanczos")) is None
