"""From pixels to a tensor: every filter, crop, turn and scaling against numbers worked out by hand or by NumPy."""

from __future__ import annotations

import io
import struct

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image

from edge_runtime.preprocess import load_pixels, normalize
from edge_runtime.resampling import RESIZE_FILTERS
from tests.edge_runtime.pictures import STORED, encoded, random_pixels, spec, with_orientation

# Resizing


def test_golden_array_of_bilinear_doubling() -> None:
    red = np.array([[0, 160], [80, 240]], np.uint8)
    picture = np.dstack((red, red[::-1], 255 - red))
    golden = np.array([[0, 40, 120, 160], [20, 60, 140, 180], [60, 100, 180, 220], [80, 120, 200, 240]])

    doubled = load_pixels(encoded(Image.fromarray(picture)), spec(4, 4))

    assert doubled.dtype == np.uint8
    assert doubled.shape == (4, 4, 3)
    assert np.array_equal(doubled[..., 0], golden)
    assert np.array_equal(doubled[..., 1], golden[::-1])
    assert np.array_equal(doubled[..., 2], 255 - golden)


def triangle_weights(size_in: int, size_out: int) -> npt.NDArray[np.float64]:
    """Rows of the bilinear filter, made wider where it shrinks (antialiased): (size_out, size_in)."""
    ratio = size_in / size_out
    centers = (np.arange(size_out)[:, np.newaxis] + 0.5) * ratio
    distances = np.abs(np.arange(size_in) + 0.5 - centers) / max(ratio, 1)
    weights = np.maximum(0, 1 - distances)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("shape", [(61, 47), (16, 12), (5, 90)])
def test_bilinear_is_the_antialiased_triangle_filter(shape: tuple[int, int]) -> None:
    pixels = random_pixels(*shape)
    rows, columns = triangle_weights(shape[0], 16), triangle_weights(shape[1], 12)
    expected = np.einsum("yh,hwc,xw->yxc", rows, pixels.astype(np.float64), columns)
    assert np.abs(load_pixels(pixels, spec(16, 12)) - expected).max() <= 1  # rounded after either direction


def test_nearest_takes_the_pixels_as_they_are() -> None:
    pixels = random_pixels(3, 2)
    doubled = load_pixels(pixels, spec(6, 4, resize="nearest"))
    assert np.array_equal(doubled, pixels.repeat(2, axis=0).repeat(2, axis=1))


def test_each_filter_gives_another_picture() -> None:
    pixels = random_pixels(9, 9)
    results = {load_pixels(pixels, spec(20, 20, resize=name)).tobytes() for name in RESIZE_FILTERS}
    assert len(results) == len(RESIZE_FILTERS) == 6


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    pixels = random_pixels(7, 5)
    for name in RESIZE_FILTERS:
        assert np.array_equal(load_pixels(pixels, spec(7, 5, resize=name)), pixels)


def test_central_crop_keeps_the_middle() -> None:
    pixels = random_pixels(8, 12)
    assert np.array_equal(load_pixels(pixels, spec(4, 6, crop_fraction=0.5)), pixels[2:6, 3:9])


def test_central_crop_of_one_pixel_keeps_it() -> None:
    assert load_pixels(np.full((1, 1, 3), 9, np.uint8), spec(2, 2, crop_fraction=0.1)).tolist() == [[[9] * 3] * 2] * 2


def test_one_pixel_fills_the_tensor() -> None:
    assert np.array_equal(
        load_pixels(encoded(Image.new("RGB", (1, 1), (1, 2, 3))), spec(5, 4)), np.full((5, 4, 3), (1, 2, 3))
    )


# Channels and values


def test_bgr_reverses_the_channels() -> None:
    pixels = random_pixels(4, 4)
    assert np.array_equal(load_pixels(pixels, spec(4, 4, channel_order="BGR")), pixels[..., ::-1])


def test_normalize_subtracts_the_mean_and_divides_by_std_per_channel() -> None:
    pixels = np.array([[[0, 100, 255]]], np.uint8)
    real = normalize(pixels, spec(1, 1, mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0)))
    assert real.dtype == np.float32
    assert real.tolist() == [[[-10.0, 40.0, 56.25]]]


def test_normalize_takes_0_to_minus_1_and_255_to_1() -> None:
    ends = normalize(np.array([[[0, 255, 51]]], np.uint8), spec(1, 1))
    assert ends[0, 0, :2].tolist() == [-1.0, 1.0]
    assert ends[0, 0, 2] == pytest.approx(-0.6)


# EXIF


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_comes_out_upright(orientation: int, image_format: str) -> None:
    upright = random_pixels(3, 5)
    file = with_orientation(upright, orientation, image_format)
    assert np.array_equal(load_pixels(file, spec(3, 5, resize="nearest")), upright)


def test_an_opened_picture_is_turned_and_stays_as_it_was() -> None:
    upright = random_pixels(3, 5)
    with Image.open(io.BytesIO(with_orientation(upright, 6))) as image:
        assert np.array_equal(load_pixels(image, spec(3, 5)), upright)
        assert image.size == (3, 5)
        assert image.getexif()[ExifTags.Base.Orientation] == 6


def test_exif_that_pillow_could_not_write_again_does_not_spoil_a_picture() -> None:
    upright = random_pixels(16, 16)
    width_as_float = struct.pack(">HHIf", ExifTags.Base.ImageWidth, 11, 1, 1.5)
    upside_down = struct.pack(">HHIHH", ExifTags.Base.Orientation, 3, 1, 3, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + width_as_float + upside_down + b"\0\0\0\0"
    file = encoded(Image.fromarray(upright[::-1, ::-1].copy()), exif=exif)
    assert np.array_equal(load_pixels(file, spec(16, 16)), upright)
