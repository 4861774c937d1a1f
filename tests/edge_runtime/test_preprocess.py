"""From a file to pixels: every case against numbers worked out by hand or by NumPy alone."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image

from edge_runtime import ArtifactError, ImageError, InputSpec, preprocess
from edge_runtime.preprocess import MAX_PIXELS, RESIZE_FILTERS, Pixels, load_pixels, normalize
from edge_runtime.scaled import DECODINGS


def spec(height: int, width: int, **changes: Any) -> InputSpec:
    return replace(InputSpec(height, width, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)), **changes)


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def random_pixels(height: int, width: int) -> Pixels:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def one_pixel(image: Image.Image) -> list[int]:
    """The RGB value that a picture of one colour comes to."""
    return [int(value) for value in load_pixels(encoded(image, "TIFF"), spec(1, 1))[0, 0]]


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
    assert len(results) == 4


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

STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),  # the viewer turns it clockwise, so it lies counter-clockwise
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
"""How an upright picture lies in a file of each EXIF orientation."""


def with_orientation(upright: Pixels, orientation: int, image_format: str = "PNG", **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(
        Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))), image_format, exif=exif, **options
    )


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


# Modes


def test_grey_becomes_three_equal_channels() -> None:
    assert one_pixel(Image.new("L", (2, 2), 77)) == [77, 77, 77]


def test_one_bit_is_black_and_white() -> None:
    assert one_pixel(Image.new("1", (2, 2), 1)) == [255, 255, 255]
    assert one_pixel(Image.new("1", (2, 2), 0)) == [0, 0, 0]


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_16_bit_grey_is_scaled_not_clipped(mode: str) -> None:
    assert [one_pixel(Image.new(mode, (2, 2), 257 * grey))[0] for grey in (0, 1, 128, 255)] == [0, 1, 128, 255]


def test_16_bit_grey_png() -> None:
    wide = np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)
    assert load_pixels(encoded(Image.fromarray(wide)), spec(2, 2))[..., 0].tolist() == [[0, 100], [200, 255]]


def test_palette_is_looked_up() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 200, 100, 50])
    image.putdata([0, 1])
    assert load_pixels(encoded(image), spec(1, 2)).tolist() == [[[9, 8, 7], [200, 100, 50]]]


def test_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 200, 100, 50])
    image.putdata([0, 1])
    assert load_pixels(encoded(image, transparency=0), spec(1, 2)).tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_alpha_lies_on_white() -> None:
    assert one_pixel(Image.new("RGBA", (2, 2), (255, 0, 0, 0))) == [255, 255, 255]
    assert one_pixel(Image.new("RGBA", (2, 2), (255, 0, 0, 255))) == [255, 0, 0]
    assert one_pixel(Image.new("RGBA", (2, 2), (255, 0, 100, 51))) == [255, 204, 224]  # 1/5 of it, 4/5 white


def test_grey_with_alpha_lies_on_white() -> None:
    image = Image.new("LA", (1, 1), (0, 51))
    assert load_pixels(encoded(image), spec(1, 1)).tolist() == [[[204, 204, 204]]]


def test_cmyk_is_ink_on_white() -> None:
    assert one_pixel(Image.new("CMYK", (2, 2), (0, 0, 0, 0))) == [255, 255, 255]
    assert one_pixel(Image.new("CMYK", (2, 2), (0, 255, 255, 0))) == [255, 0, 0]
    assert one_pixel(Image.new("CMYK", (2, 2), (51, 0, 255, 51))) == [163, 204, 0]  # (255-51) * (255-51) / 255


@pytest.mark.parametrize("mode", ["F", "LAB"])
def test_modes_without_a_white_are_refused(mode: str) -> None:
    with pytest.raises(ImageError, match=f"mode {mode}.*save it as 8-bit RGB"):
        load_pixels(Image.new(mode, (2, 2)), spec(2, 2))


# Sources


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_common_formats_are_read(image_format: str) -> None:
    colour = load_pixels(encoded(Image.new("RGB", (16, 16), (200, 100, 48)), image_format), spec(1, 1))[0, 0]
    assert np.abs(colour.astype(int) - (200, 100, 48)).max() <= 8  # JPEG, WebP and GIF's palette are lossy


def test_path_bytes_file_picture_and_array_are_the_same_to_it(tmp_path: Path) -> None:
    pixels = random_pixels(6, 9)
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(Image.fromarray(pixels)))
    with path.open("rb") as file:
        sources = (path, str(path), path.read_bytes(), file, Image.fromarray(pixels), pixels, pixels[::-1][::-1])
        results = {load_pixels(source, spec(4, 4)).tobytes() for source in sources}
    assert len(results) == 1


def test_an_animation_is_its_first_frame() -> None:
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 255, 0))
    gif = encoded(first, "GIF", save_all=True, append_images=[second])
    assert load_pixels(gif, spec(1, 1)).tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_rgb_picture_are_refused(array: Any) -> None:
    with pytest.raises(ImageError, match=r"pass uint8 RGB of shape \(H, W, 3\)"):
        load_pixels(array, spec(4, 4))


def png_header(width: int, height: int) -> bytes:
    """A PNG file that ends after its header: nothing in it could be decoded."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"


@pytest.mark.parametrize("size", [(MAX_PIXELS // 1000 + 1, 1000), (100_000, 1000), (60_000, 60_000)])
def test_too_many_pixels_are_refused_before_decoding(size: tuple[int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(ImageError, match=r"more than 90,000,000.*: scale it down first"):
            load_pixels(png_header(*size), spec(4, 4))


def test_a_webp_may_have_half_as_many_pixels() -> None:
    with pytest.raises(ImageError, match=r"6800x6800 pixels, more than 45,000,000: scale it down"):
        load_pixels(encoded(Image.new("RGB", (6800, 6800)), "WEBP", lossless=True, quality=0, method=0), spec(4, 4))


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "P"])
def test_a_few_rows_at_a_time_come_to_the_same(mode: str, image_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (17, 11, 4), np.uint8)
    wide = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    image = wide if mode == "I;16" else Image.fromarray(noise).convert(mode)
    options = {"transparency": 3} if (mode, image_format) == ("P", "PNG") else {}
    picture = encoded(image, image_format, **options)
    at_once = load_pixels(picture, spec(17, 11))
    monkeypatch.setattr(preprocess, "BAND_PIXELS", 25)
    np.testing.assert_array_equal(load_pixels(picture, spec(17, 11)), at_once)
    assert np.unique(at_once).size > 20


def test_pillows_own_warning_may_be_an_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with pytest.raises(ImageError, match="scale it down first"):
            load_pixels(png_header(100_000, 1000), spec(4, 4))


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    whole = encoded(Image.fromarray(random_pixels(64, 64)), "JPEG")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"half\.jpg cannot be decoded: .*truncated"):
        load_pixels(path, spec(4, 4))


def test_a_text_file_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("not a picture")
    with pytest.raises(ImageError, match=r"notes\.jpg is not a picture .*: pass JPEG, PNG"):
        load_pixels(path, spec(4, 4))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg does not exist: check the path"):
        load_pixels(tmp_path / "gone.jpg", spec(4, 4))


def test_formats_that_run_other_programs_are_refused() -> None:
    with pytest.raises(ImageError, match="is a EPS file: pass JPEG, PNG"):
        load_pixels(encoded(Image.new("RGB", (4, 4)), "EPS"), spec(4, 4))


@pytest.mark.parametrize("source", [None, 7, object()])
def test_what_is_no_source_at_all_is_an_image_error(source: Any) -> None:
    with pytest.raises(ImageError, match="cannot be decoded"):
        load_pixels(source, spec(4, 4))


@pytest.mark.parametrize("decode", DECODINGS)
@pytest.mark.filterwarnings("ignore")
def test_damaged_pictures_are_read_or_refused_and_nothing_else(decode: str) -> None:
    chance = random.Random(1)
    picture = Image.fromarray(random_pixels(24, 24))
    whole = [encoded(picture, image_format) for image_format in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")]
    whole.append(with_orientation(random_pixels(24, 24), 6, "JPEG"))
    refused = 0
    for _ in range(700):
        damaged = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(min(len(damaged), 300))] = chance.randrange(256)
        try:
            pixels = load_pixels(bytes(damaged), spec(2, 2, decode=decode))
        except ImageError:
            refused += 1
        else:
            assert pixels.shape == (2, 2, 3)
    assert refused > 100


# The specification


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
