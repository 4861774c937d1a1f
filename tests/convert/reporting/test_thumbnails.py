"""Pictures inside the page: small, upright, and without what a camera wrote beside them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from convert.reporting import html
from convert.reporting.html import THUMBNAIL_SIDE, thumbnail

LEFT, RIGHT = (220, 30, 30), (30, 30, 220)


def picture(width: int = 400, height: int = 200) -> Image.Image:
    """Red on the left, blue on the right."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = LEFT, RIGHT
    return Image.fromarray(pixels)


def decoded(uri: str | None) -> Image.Image:
    assert uri is not None
    head, _, data = uri.partition(",")
    assert head == "data:image/webp;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert image.format == "WEBP"
    return image


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tif"])
def test_every_format_becomes_a_small_webp(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture{suffix}"
    picture(1000, 500).save(path)
    image = decoded(thumbnail(path)).convert("RGB")
    assert image.size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE // 2)
    assert np.abs(np.subtract(image.getpixel((20, 50)), LEFT)).max() < 25
    assert np.abs(np.subtract(image.getpixel((200, 50)), RIGHT)).max() < 25


def test_a_small_picture_keeps_its_size(tmp_path: Path) -> None:
    picture(28, 28).save(tmp_path / "small.png")
    assert decoded(thumbnail(tmp_path / "small.png")).size == (28, 28)


@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [(1, (224, 112), (20, 50)), (3, (224, 112), (200, 50)), (6, (112, 224), (50, 20)), (8, (112, 224), (50, 200))],
)
def test_pictures_stand_upright(
    orientation: int, size: tuple[int, int], red_at: tuple[int, int], tmp_path: Path
) -> None:
    """Orientation 6: the camera was turned so that the left of the file is the top of the scene."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture().save(tmp_path / "turned.jpg", exif=exif)
    image = decoded(thumbnail(tmp_path / "turned.jpg")).convert("RGB")
    assert image.size == size
    assert np.abs(np.subtract(image.getpixel(red_at), LEFT)).max() < 25


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_place_and_camera_stay_behind(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "SecretCamera"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 0.0)
    path = tmp_path / f"private{suffix}"
    picture().save(path, exif=exif, icc_profile=b"SecretProfile" * 20)
    assert b"Secret" in path.read_bytes(), "the case itself"
    uri = thumbnail(path)
    image = decoded(uri)
    assert dict(image.getexif()) == {}
    assert b"Secret" not in base64.b64decode(str(uri).partition(",")[2])


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(decoded(thumbnail(tmp_path / "clear.png")).convert("RGB")).min() > 250


def test_what_cannot_be_read_has_no_thumbnail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:150])
    (tmp_path / "text.png").write_text("no picture")
    assert thumbnail(tmp_path / "gone.png") is None
    assert thumbnail(tmp_path / "cut.png") is None
    assert thumbnail(tmp_path / "text.png") is None
    monkeypatch.setattr(html, "MAX_PIXELS", 400 * 200 - 1)
    assert thumbnail(tmp_path / "whole.png") is None
