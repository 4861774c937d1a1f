"""JPEGs decoded at a fraction of their size: the rule by hand, the pixels against NumPy and against whole decoding."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from edge_runtime import ImageError, InputSpec
from edge_runtime.geometry import Placement
from edge_runtime.jpeg_scaling import DECODINGS, SCALES, Extent, decode_scale
from edge_runtime.preprocess import Pixels, load_pixels
from tests.edge_runtime.test_preprocess import encoded, triangle_weights, with_orientation

GAP = DECODINGS["scaled"]


def spec(height: int, width: int, **changes: Any) -> InputSpec:
    return replace(InputSpec(height, width, (0, 0, 0), (1, 1, 1), decode="scaled"), **changes)


def whole(wanted: InputSpec) -> InputSpec:
    return replace(wanted, decode="full")


def smooth(height: int, width: int) -> Pixels:
    """Soft blobs of colour, none so bright or dark that decoding would have to clip it."""
    coarse = np.random.default_rng(4).integers(60, 196, (height // 32 + 2, width // 32 + 2, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def jpeg(pixels: Pixels, **options: Any) -> bytes:
    return encoded(Image.fromarray(pixels), "JPEG", **{"quality": 95, "subsampling": 0, **options})


# The rule


@pytest.mark.parametrize(
    ("kept", "tensor", "scale"),
    [
        ((4000, 3000), (139, 139), 8),  # 3000 / 8 = 375 >= 2 * 139
        ((4000, 3000), (299, 299), 4),  # 375 < 2 * 299 <= 750
        ((3000, 4000), (299, 299), 4),
        ((640, 480), (299, 299), 1),
        ((4784, 4784), (299, 299), 8),  # just 16 times
        ((4784, 4783), (299, 299), 4),
        ((40000, 600), (299, 299), 1),  # the narrower side decides
        ((4000, 3000), (400, 100), 4),  # 4000 / 8 = 500 < 2 * 400
        ((16, 16), (1, 1), 8),
        ((15, 16), (1, 1), 4),
        ((1, 1), (1, 1), 1),
    ],
)
def test_the_rule_by_hand(kept: tuple[int, int], tensor: tuple[int, int], scale: int) -> None:
    placement = Placement((0, 0, *kept), tensor)
    assert decode_scale(placement, GAP) == scale
    assert decode_scale(placement, DECODINGS["full"]) == 1


sizes = st.tuples(st.integers(1, 10_000), st.integers(1, 10_000))


@given(sizes, sizes, st.sampled_from((1, 1.5, GAP)))
def test_no_larger_scale_would_leave_enough(kept: tuple[int, int], tensor: tuple[int, int], gap: float) -> None:
    enough = [s for s in SCALES if min(kept[0] / tensor[0], kept[1] / tensor[1]) / s >= gap]
    assert decode_scale(Placement((5, 7, kept[0] + 5, kept[1] + 7), tensor), gap) == max(enough, default=1)


def test_a_kept_part_lies_where_it_lies_in_the_file() -> None:
    whole = Placement((0, 0, 4001, 3003), (40, 30))
    assert Extent(4001, 3003, 8).decoded(whole).box == (0, 0, 4001 / 8, 3003 / 8)
    assert Extent(4001, 3003, 8, 7, 5).decoded(whole).box == (7 / 8, 5 / 8, 4008 / 8, 3008 / 8)
    part = spec(20, 30, crop_fraction=0.5).placement(400, 300)
    assert Extent(400, 300, 4).decoded(part).box == (100 / 4, 75 / 4, 300 / 4, 225 / 4)


# What is decoded


@pytest.fixture
def decoded_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Record the size of every picture before it is resized."""
    found: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def note(image: Image.Image, *arguments: Any, **named: Any) -> Image.Image:
        found.append(image.size)
        return resize(image, *arguments, **named)

    monkeypatch.setattr(Image.Image, "resize", note)
    return found


@pytest.mark.parametrize(("side", "size"), [(10, (32, 23)), (16, (63, 46)), (30, (126, 91)), (90, (251, 181))])
def test_large_files_are_decoded_small(side: int, size: tuple[int, int], decoded_sizes: list[tuple[int, int]]) -> None:
    file = jpeg(smooth(181, 251))
    decoded_sizes.clear()
    load_pixels(file, spec(side, side))
    load_pixels(file, whole(spec(side, side)))
    assert decoded_sizes == [size, (251, 181)]


def test_path_bytes_and_file_are_the_same_to_it_and_a_picture_stays_whole(tmp_path: Path) -> None:
    path, wanted = tmp_path / "photo.jpg", spec(9, 9)
    path.write_bytes(jpeg(smooth(200, 300)))
    with path.open("rb") as file:
        files = {load_pixels(source, wanted).tobytes() for source in (path, path.read_bytes(), file)}
    with Image.open(path) as image:
        opened = load_pixels(image, wanted)
        assert image.size == (300, 200)
    assert files == {load_pixels(path, wanted).tobytes()}
    assert files != {opened.tobytes()}
    assert np.array_equal(opened, load_pixels(path, whole(wanted)))


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_other_formats_are_decoded_whole(image_format: str) -> None:
    file = encoded(Image.fromarray(smooth(160, 200)), image_format)
    assert np.array_equal(load_pixels(file, spec(5, 5)), load_pixels(file, whole(spec(5, 5))))


def test_a_jpeg_that_is_not_large_is_decoded_whole() -> None:
    file = jpeg(smooth(160, 200))
    assert np.array_equal(load_pixels(file, spec(41, 41)), load_pixels(file, whole(spec(41, 41))))


def test_of_an_mpo_file_the_first_picture_counts() -> None:
    first, second = Image.fromarray(smooth(160, 200)), Image.new("RGB", (160, 200))
    options = {"quality": 95, "subsampling": 0}
    both = encoded(first, "MPO", save_all=True, append_images=[second], **options)
    with Image.open(io.BytesIO(both)) as opened:
        assert opened.format == "MPO"
    alone = load_pixels(encoded(first, "JPEG", **options), spec(5, 5))
    assert np.array_equal(load_pixels(both, spec(5, 5)), alone)
    assert not np.array_equal(load_pixels(both, whole(spec(5, 5))), alone)


# Its pixels


def test_an_eighth_is_the_mean_of_blocks() -> None:
    """The mean of 8x8 pixels is their block's DC term; it and the filter's two passes are rounded to whole numbers."""
    file = jpeg(smooth(240, 320))
    with Image.open(io.BytesIO(file)) as image:
        pixels = np.asarray(image, np.float64)
    means = pixels.reshape(30, 8, 40, 8, 3).mean(axis=(1, 3))
    expected = np.einsum("yh,hwc,xw->yxc", triangle_weights(30, 15), means, triangle_weights(40, 20))
    assert np.abs(load_pixels(file, spec(15, 20)) - expected).max() <= 2


@pytest.mark.parametrize(("side", "scale"), [(15, 8), (30, 4), (60, 2)])
def test_any_fraction_is_close_to_the_mean_of_its_pixels(side: int, scale: int) -> None:
    """A decoder at 1/4 or 1/2 makes other averages than a mean, which differ where neighbours do: here, hardly."""
    file = jpeg(smooth(240, 320))
    with Image.open(io.BytesIO(file)) as image:
        pixels = np.asarray(image, np.float64)
    means = pixels.reshape(240 // scale, scale, 320 // scale, scale, 3).mean(axis=(1, 3))
    rows, columns = triangle_weights(240 // scale, side), triangle_weights(320 // scale, side)
    difference = load_pixels(file, spec(side, side)) - np.einsum("yh,hwc,xw->yxc", rows, means, columns)
    assert np.abs(difference).max() <= 3
    assert abs(difference.mean()) <= 0.5


def ramp(height: int, width: int) -> Pixels:
    """Red grows from left to right, green from top to bottom, by as much as stays between 20 and 230."""
    across, down = np.linspace(20, 230, width), np.linspace(20, 230, height)
    pixels = np.dstack(np.broadcast_arrays(across, down[:, np.newaxis], np.full((height, width), 128)))
    return np.asarray(np.round(pixels), np.uint8)


def ramp_at_centers(length: int, kept: int, tensor: int) -> npt.NDArray[np.float64]:
    """Of a ramp over `length` pixels, the value at the centre of each of the tensor's pixels over the `kept` ones."""
    centers = (length - kept) // 2 + (np.arange(tensor) + 0.5) * kept / tensor
    return 20 + 210 * (centers - 0.5) / (length - 1)


@pytest.mark.parametrize("fraction", [1.0, 0.7])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(240, 320), (241, 327), (247, 321)])
def test_it_lies_where_it_lay(size: tuple[int, int], orientation: int, fraction: float) -> None:
    """Averages of a ramp are its values in the middle, wherever the file's last blocks reach beyond the picture.

    At an eighth of its size a pixel is 7 levels of green; being off by the 7 pixels of a block that is mostly padding
    would show as 6. The outermost values are left out: there the filter sees one side only.
    """
    height, width = size
    file = with_orientation(ramp(height, width), orientation, "JPEG", quality=100, subsampling=0)
    tensor_height, tensor_width = 7, 12  # lying down: an upright picture held against it asks for another scale
    kept_height, kept_width = round(height * fraction), round(width * fraction)

    pixels = load_pixels(file, spec(tensor_height, tensor_width, crop_fraction=fraction)).astype(np.float64)

    red, green = pixels[:, 1:-1, 0], pixels[1:-1, :, 1]
    assert np.abs(red - ramp_at_centers(width, kept_width, tensor_width)[1:-1]).max() <= 1.5
    assert np.abs(green - ramp_at_centers(height, kept_height, tensor_height)[1:-1, np.newaxis]).max() <= 1.5


@pytest.mark.parametrize("orientation", [6, 8])
def test_sides_are_compared_when_upright(orientation: int, decoded_sizes: list[tuple[int, int]]) -> None:
    """Upright 320 wide and 160 high: half of it is twice 80 x 40; lying as in the file, 160 were no 4 times 80."""
    file = with_orientation(smooth(160, 320), orientation, "JPEG")
    decoded_sizes.clear()
    load_pixels(file, spec(40, 80))
    assert decoded_sizes == [(160, 80)]


def test_what_is_cropped_away_does_not_count(decoded_sizes: list[tuple[int, int]]) -> None:
    """Half of 320 x 240 is 160 x 120, and 120 / 8 is less than twice 8; at 1/4, 40 x 30 pixels are left."""
    file = jpeg(smooth(240, 320))
    decoded_sizes.clear()
    load_pixels(file, spec(8, 8, crop_fraction=0.5))
    assert decoded_sizes == [(40, 30)]


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "4:4:4": ("RGB", {"subsampling": 0}),
    "4:2:0": ("RGB", {"subsampling": 2}),
    "progressive": ("RGB", {"progressive": True}),
    "progressive 4:2:0": ("RGB", {"progressive": True, "subsampling": 2}),
    "RGB kept": ("RGB", {"keep_rgb": True}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "restart markers": ("RGB", {"restart_marker_rows": 1, "subsampling": 2}),
}


@pytest.mark.parametrize("side", [14, 28, 56])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_jpeg_come_out_as_when_decoded_whole(kind: str, side: int) -> None:
    """Within 3 levels, and 1 on average: both are lossy in the same way, and the picture has no sharp edges."""
    mode, options = KINDS[kind]
    file = encoded(Image.fromarray(smooth(235, 317)).convert(mode), "JPEG", **{"quality": 95, **options})
    difference = np.abs(load_pixels(file, spec(side, side)) - load_pixels(file, whole(spec(side, side))).astype(float))
    assert difference.max() <= 3
    assert difference.mean() <= 1


@pytest.mark.parametrize("side", [14, 28, 56])
def test_colours_of_4_2_2_are_decoded_half_as_wide(side: int) -> None:
    """Decoders halve both directions of a colour or neither, so at 1/s its pixels are 2 s wide: it blurs, no more."""
    file = jpeg(smooth(235, 317), subsampling=1)
    difference = load_pixels(file, spec(side, side)) - load_pixels(file, whole(spec(side, side))).astype(float)
    assert np.abs(difference).mean() <= 1.5
    assert np.abs(difference.mean(axis=(0, 1))).max() <= 0.5
    red, green, blue = np.moveaxis(difference, -1, 0)
    assert np.abs(0.299 * red + 0.587 * green + 0.114 * blue).max() <= 3  # its brightness does not


@pytest.mark.parametrize("resize", ["bicubic", "lanczos"])
def test_other_filters_come_after_it(resize: str) -> None:
    file, wanted = jpeg(smooth(240, 320)), spec(14, 14, resize=resize)
    difference = np.abs(load_pixels(file, wanted) - load_pixels(file, whole(wanted)).astype(float))
    assert difference.max() <= 4


def test_nearest_takes_means_of_blocks() -> None:
    file = jpeg(smooth(240, 320))
    with Image.open(io.BytesIO(file)) as image:
        means = np.asarray(image, np.float64).reshape(30, 8, 40, 8, 3).mean(axis=(1, 3))
    rows, columns = ((np.arange(14) + 0.5) * length // 14 for length in (30, 40))
    expected = means[np.ix_(rows.astype(int), columns.astype(int))]
    assert np.abs(load_pixels(file, spec(14, 14, resize="nearest")) - expected).max() <= 2


# What cannot be


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.95])
def test_a_truncated_file_is_refused_as_when_decoded_whole(part: float, options: dict[str, Any]) -> None:
    file = jpeg(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8), **{"quality": 75, **options})
    messages = []
    for wanted in (spec(5, 5), whole(spec(5, 5))):
        with pytest.raises(ImageError, match=r"cannot be decoded: .*; save it again, or leave it out") as caught:
            load_pixels(file[: int(part * len(file))], wanted)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_what_a_file_claims_counts_not_what_would_be_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    file = jpeg(smooth(240, 320))
    monkeypatch.setattr("edge_runtime.preprocess.MAX_PIXELS", 320 * 240)
    assert load_pixels(file, spec(8, 8)).shape == (8, 8, 3)
    monkeypatch.setattr("edge_runtime.preprocess.MAX_PIXELS", 320 * 240 - 1)
    with pytest.raises(ImageError, match=r"320x240 pixels, more than 76,799: scale it down first"):
        load_pixels(file, spec(8, 8))


def lossless_jpeg(side: int) -> bytes:
    """Write a grey picture of 200s: the first sample as a difference from 128, then zeros, in two Huffman codes."""
    segments = {
        0xC3: struct.pack(">BHHB", 8, side, side, 1) + bytes((1, 0x11, 0)),
        0xC4: bytes((0, 1, 1, *14 * [0], 0, 7)),
        0xDA: bytes((1, 1, 0, 1, 0, 0)),
    }
    head = b"".join(struct.pack(">BBH", 0xFF, mark, 2 + len(body)) + body for mark, body in segments.items())
    bits = "10" + f"{200 - 128:07b}" + "0" * (side**2 - 1)
    data = int(bits + "1" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big").replace(b"\xff", b"\xff\0")
    return b"\xff\xd8" + head + data + b"\xff\xd9"


def test_a_lossless_jpeg_has_no_fraction() -> None:
    file = lossless_jpeg(64)
    assert load_pixels(file, whole(spec(4, 4))).tolist() == [[[200] * 3] * 4] * 4
    assert np.array_equal(load_pixels(file, spec(40, 40)), load_pixels(file, whole(spec(40, 40))))
    with pytest.raises(ImageError, match="cannot be decoded"):
        load_pixels(file, spec(4, 4))


def test_a_pillow_that_decodes_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", lambda *arguments: None)
    with pytest.raises(ImageError, match=r"at 320x240, not at 40x30 pixels: install another version of Pillow"):
        load_pixels(jpeg(smooth(240, 320)), spec(8, 8))
