"""Grey networks: one channel, the luma of ITU-R 601, whatever the image is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_runtime import ArtifactError, ImageError, InputSpec
from edge_runtime.preprocess import load_pixels, normalize
from edge_runtime.probe import probe_pixels
from edge_runtime.specs import TensorSpec
from edge_runtime.tensors import encode

GREY = InputSpec(6, 9, (127.5,), (127.5,), channels=1)
RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def luma(rgb: np.ndarray) -> np.ndarray:
    """ITU-R BT.601, section 2.5.1, rounded."""
    return np.rint(rgb @ np.array([0.299, 0.587, 0.114]))


def test_colours_become_their_luma() -> None:
    found = load_pixels(RGB, GREY)
    assert (found.shape, found.dtype) == ((6, 9, 1), np.uint8)
    assert np.abs(found[..., 0] - luma(RGB)).max() <= 1


@pytest.mark.parametrize("shape", [(6, 9), (6, 9, 1)])
def test_grey_arrays_are_taken_as_they_are(shape: tuple[int, ...]) -> None:
    assert np.array_equal(load_pixels(RGB[..., 0].reshape(shape), GREY)[..., 0], RGB[..., 0])


def test_grey_arrays_are_for_grey_networks() -> None:
    with pytest.raises(ImageError, match=r"pass uint8 RGB of shape \(H, W, 3\)"):
        load_pixels(RGB[..., 0], InputSpec(6, 9, (0.0,) * 3, (1.0,) * 3))
    with pytest.raises(ImageError, match=r"pass uint8 grey \(H, W\) or RGB"):
        load_pixels(RGB[..., :2], GREY)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16", "1", "CMYK"])
def test_files_of_every_mode_are_as_grey_as_their_colours(mode: str, tmp_path: Path) -> None:
    suffix = "tiff" if mode == "CMYK" else "png"
    picture = Image.fromarray(RGB[..., 0].astype(np.uint16) * 257) if mode == "I;16" else None
    (picture or Image.fromarray(RGB).convert(mode)).save(tmp_path / f"x.{suffix}")
    colours = load_pixels(tmp_path / f"x.{suffix}", InputSpec(6, 9, (0.0,) * 3, (1.0,) * 3))
    grey = load_pixels(tmp_path / f"x.{suffix}", GREY)[..., 0]
    assert np.abs(grey - luma(colours)).max() <= 1
    if mode in ("L", "I;16"):
        assert np.array_equal(grey, colours[..., 0])


def test_grey_is_resized_as_pillow_does() -> None:
    spec = InputSpec(4, 5, (0.0,), (1.0,), channels=1)
    expected = Image.fromarray(RGB).convert("L").resize((5, 4), Image.Resampling.BILINEAR)
    assert np.array_equal(load_pixels(RGB, spec)[..., 0], np.asarray(expected))


def test_a_large_jpeg_is_decoded_at_a_fraction_and_is_near_the_whole() -> None:
    file = io.BytesIO()
    smooth = np.linspace(0, 255, 400 * 300 * 3).reshape(300, 400, 3).astype(np.uint8)
    Image.fromarray(smooth).save(file, "JPEG", quality=95)
    full, scaled = (
        load_pixels(file.getvalue(), InputSpec(20, 30, (0.0,), (1.0,), channels=1, decode=decode))
        for decode in ("full", "scaled")
    )
    assert np.abs(full.astype(int) - scaled).max() <= 3


def test_one_mean_and_std_scale_it_and_pixels_are_passed_on() -> None:
    pixels = load_pixels(RGB, GREY)
    assert np.allclose(normalize(pixels, GREY), (pixels - 127.5) / 127.5, atol=1e-6)
    assert np.array_equal(encode(pixels, GREY, TensorSpec("image", "uint8", 1.0, 128, "pixels")), pixels)


def test_a_grey_specification_survives_json_and_says_so() -> None:
    assert InputSpec.from_json(GREY.to_json()) == GREY
    assert GREY.to_json()["channels"] == 1
    for wrong in ({"mean": [1, 2, 3]}, {"channels": 2}, {"channels": 3}):
        with pytest.raises(ArtifactError):
            InputSpec.from_json({**GREY.to_json(), **wrong})


def test_the_probe_of_a_grey_network_has_one_channel() -> None:
    assert probe_pixels(3, 4, 1).shape == (3, 4, 1)
    assert np.array_equal(probe_pixels(3, 4, 1).ravel(), probe_pixels(3, 4).ravel()[:12])
