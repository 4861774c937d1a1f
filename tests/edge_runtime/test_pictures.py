"""From a file to RGB: kinds of pixels, kinds of files, and what is refused."""

from __future__ import annotations

import random
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_runtime import ImageError, preprocess
from edge_runtime.jpeg_scaling import DECODINGS
from edge_runtime.preprocess import FORMATS, MAX_PIXELS, load_pixels, looks_black
from tests.edge_runtime.pictures import encoded, one_pixel, random_pixels, spec, with_orientation

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


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_tiff_says_which_value_is_white(orientation: int) -> None:
    """MaxSampleValue, tag 281, as programs write it that keep the 12 bits of a camera."""
    wide = Image.fromarray(np.array([[0, 4095 * 100 // 255], [2056, 4095]], np.uint16))
    read = load_pixels(encoded(wide, "TIFF", tiffinfo={281: 4095, 274: orientation}), spec(2, 2))[..., 0]
    assert np.rot90(read, 0 if orientation == 1 else 1).tolist() == [[0, 100], [128, 255]]


def test_a_tiff_of_12_bits() -> None:
    """Three tags' worth of a file that Pillow reads and does not write: two values of 12 bits in three bytes."""
    values = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 134, 277: 1, 278: 1, 279: 3, 284: 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    file = b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + bytes([0xFF, 0xF8, 0x08])
    assert load_pixels(file, spec(1, 2))[0, :, 0].tolist() == [255, 128]


@pytest.mark.parametrize(("top", "said"), [(4095, True), (4096, False), (65535, False)])
@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bits_that_hold_no_more_than_12_are_said(top: int, said: bool, image_format: str, tmp_path: Path) -> None:
    """They are what the file says they are, and nearly black."""
    path = tmp_path / "camera"
    Image.fromarray(np.array([[0, 7, top]], np.uint16)).save(path, image_format)
    assert load_pixels(path, spec(1, 3)).max() == np.rint(top / 257)
    assert (looks_black(path) is not None) == said


def test_dark_pictures_of_8_bits_are_dark(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (3, 2, 1)).save(tmp_path / "night.png")
    assert looks_black(tmp_path / "night.png") is None
    assert looks_black(tmp_path / "gone.png") is None


@pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow does not read AVIF")
def test_avif_is_read_and_turned_upright(tmp_path: Path) -> None:
    stored = Image.new("RGB", (64, 32), (250, 10, 10))
    stored.paste((10, 10, 250), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned clockwise
    top, *_, bottom = load_pixels(encoded(stored, "AVIF", exif=exif.tobytes(), quality=95), spec(8, 1))[:, 0].astype(
        int
    )
    assert np.abs([top - (10, 10, 250), bottom - (250, 10, 10)]).max() <= 8


@pytest.mark.skipif("HEIF" in FORMATS, reason="a plugin reads it here")
def test_heic_is_refused_with_what_reads_it(tmp_path: Path) -> None:
    (tmp_path / "photo.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ImageError, match=r"photo\.HEIC is not a readable image: pass .*HEIC: pip install pillow-heif"):
        load_pixels(tmp_path / "photo.HEIC", spec(2, 2))


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
    """Write a PNG file that ends after its header: nothing in it can be decoded."""
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
    with pytest.raises(ImageError, match=r"notes\.jpg is not a readable image: pass JPEG, PNG"):
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
