"""THE definition of image -> tensor, for calibration, the drift check and the device alike.

    file or picture -> upright RGB or grey -> resize to the tensor -> uint8 pixels -> (pixels - mean) / std

`edge_runtime/geometry.py` says what is cut off, padded or stretched where the proportions differ, and
`edge_runtime/resampling.py` does it. If the card says so, a large JPEG is decoded at a fraction of its size;
`edge_runtime/jpeg_scaling.py` has the rule. The parameters are the `InputSpec` in the artifact's card; a device has no
defaults.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
from collections.abc import Callable
from functools import cache
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from edge_runtime.arrays import Array
from edge_runtime.errors import ImageError, first_line
from edge_runtime.jpeg_scaling import DECODINGS, Extent, draft
from edge_runtime.resampling import resized
from edge_runtime.specs import InputSpec

ImageSource = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 90_000_000
"""Images with more pixels are refused before they are decoded; Pillow stores RGB in four bytes a pixel, 360 MB."""

MAX_PIXELS_OF = dict.fromkeys(("WEBP", "AVIF", "HEIF"), 45_000_000)
"""The same for formats whose decoder holds an image several times; none may take more than a gigabyte."""

BAND_PIXELS = 2**20
"""How many pixels are converted to RGB at a time, if the conversion needs wide intermediate values."""

DECODERS = {"AVIF": ("PIL._avif", (".avif",)), "HEIF": ("pillow_heif", (".heic", ".heif"))}
"""Formats that some installations read, the module that does, and the endings of their files."""

READABLE = {name: endings for name, (module, endings) in DECODERS.items() if importlib.util.find_spec(module)}

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", *READABLE)
"""Files of other formats are refused: Pillow knows dozens, and starts Ghostscript to read one of them."""

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", *sum(READABLE.values(), ()))
"""The endings by which a search of a folder recognizes images."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes such an image upright; any other value is upright already."""

SUPPORTED = f"pass {', '.join(('JPEG', 'PNG', 'WebP', 'BMP', *READABLE, 'GIF'))} or TIFF"
if "HEIF" not in READABLE:
    SUPPORTED += " (HEIC: pip install pillow-heif)"

WHITE_OF_16_BITS = 65535
CAMERA_WHITE = 4095
"""White of a camera's 12 bits, which many programs store in 16 without scaling them."""


def load_pixels(source: ImageSource, spec: InputSpec) -> Pixels:
    """Read one image and prepare it for the network, except for the scaling of its values.

    Args:
        source: path, bytes or open binary file of an image, a PIL image, or RGB pixels (H, W, 3) uint8, for a network
            of grey images also (H, W) or (H, W, 1). Only files are decoded at a fraction of their size; a PIL image is
            taken as it is.
        spec: how to prepare it.

    Returns:
        uint8 (spec.height, spec.width, spec.channels) in the channel order of `spec`.

    Raises:
        ImageError: the image cannot be read or is too large.
    """
    rgb, extent = _upright_rgb(source, spec)
    picture = rgb if spec.channels == 3 else rgb.convert("L")
    whole = extent or Extent(*rgb.size)
    placement = whole.decoded(spec.placement(whole.width, whole.height))
    color = spec.pad_color if len(spec.pad_color) == spec.channels else spec.pad_color * spec.channels
    small = resized(picture, placement, (spec.width, spec.height), spec.resize, color)
    pixels: Pixels = small.reshape(spec.height, spec.width, spec.channels)
    return pixels[..., ::-1] if spec.channel_order == "BGR" else pixels


def normalize(pixels: Pixels, spec: InputSpec) -> npt.NDArray[np.float32]:
    """Scale uint8 pixels (..., channels) to the float32 values the network was trained on."""
    mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
    return ((pixels.astype(np.float32) - mean) / std).astype(np.float32)


def describe_source(source: ImageSource) -> str:
    """Return a name for `source` in messages."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return str(name or f"<{type(source).__name__}>")


def _upright_rgb(source: ImageSource, spec: InputSpec) -> tuple[Image.Image, Extent | None]:
    """Return what was decoded as upright RGB, and where the image lies within it; None if it fills it."""
    if isinstance(source, np.ndarray):
        return _from_array(source, spec.channels), None
    name = describe_source(source)
    try:
        if isinstance(source, Image.Image):
            _refuse_too_large(source, name)
            return to_rgb(_upright(source), name), None
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        _add_plugins()
        with Image.open(file) as image:
            if image.format not in FORMATS:
                raise ImageError(f"{name} is a {image.format} file: {SUPPORTED}")
            _refuse_too_large(image, name)
            extent, white = draft(image, name, spec.placement, DECODINGS[spec.decode]), _white(image)
            upright = _upright(image)
            if upright is not image:
                image.close()  # two of the largest images fit into a gigabyte, three do not
            return to_rgb(upright, name, white), extent
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a readable image: {SUPPORTED}") from error
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist: check the path") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} has more than {MAX_PIXELS:,} pixels: scale it down first") from error
    except Exception as error:  # for damaged files Pillow raises anything, struct.error among others
        raise ImageError(f"{name} cannot be decoded: {first_line(error)}; save it again, or leave it out") from error


@cache
def _add_plugins() -> None:
    """Let Pillow read what an installed plugin decodes."""
    if "HEIF" in READABLE:
        importlib.import_module("pillow_heif").register_heif_opener()


def _white(image: Image.Image) -> int:
    """Return what is white in grey of more than 8 bits, by the TIFF tags BitsPerSample and MaxSampleValue."""
    tags = getattr(image, "tag_v2", {})
    (bits, *_), most = tags.get(258, (16,)), np.ravel(tags.get(281, 0))[0]
    return int(most) if most > 0 else 2**bits - 1 if 8 < bits < 16 else WHITE_OF_16_BITS


def looks_black(path: str | os.PathLike[str]) -> str | None:
    """Return a note on a file of 16-bit values of which none is over `CAMERA_WHITE`; None for others."""
    try:
        _add_plugins()
        with Image.open(path) as image:
            _refuse_too_large(image, "")
            if ";16" not in str(image.tile) or _white(image) != WHITE_OF_16_BITS:
                return None
            colours = image.convert("RGB") if image.mode in ("RGBA", "LA") else image
            most = max(np.ravel(colours.getextrema())) * (1 if image.mode.startswith("I") else 256)
    except Exception:  # whoever reads its pixels says why not
        return None
    advice = f"16-bit values, none over {CAMERA_WHITE}, nearly black; if that is white, scale them to 8 or 16 bits"
    return None if most > CAMERA_WHITE else f"{os.fspath(path)}: {advice}"


def _refuse_too_large(image: Image.Image, name: str) -> None:
    most = MAX_PIXELS_OF.get(image.format or "", MAX_PIXELS)
    if image.width * image.height > most:
        raise ImageError(f"{name} has {image.width}x{image.height} pixels, more than {most:,}: scale it down first")


def _upright(image: Image.Image) -> Image.Image:
    """Return the first frame of `image`, turned as its EXIF data say; `image` itself if they say nothing."""
    image.load()  # here Pillow itself turns a TIFF file upright
    turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image, name: str = "image", white: int = WHITE_OF_16_BITS) -> Image.Image:
    """Convert to RGB: palettes resolved, transparency on white, grey scaled by its `white`; RGB is not copied.

    Raises:
        ImageError: the mode does not define which value is white.
    """
    if image.mode in ("F", "LAB"):
        raise ImageError(f"{name} has pixels of mode {image.mode}, whose white is not defined: save it as 8-bit RGB")
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):
        return _by_bands(image, lambda band: _from_wide(band, white))
    if image.has_transparency_data:
        return _by_bands(image, _on_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _by_bands(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Apply `to_rgb` to an image, a few rows at a time if it is large, to save memory."""
    rows = max(1, BAND_PIXELS // image.width)
    if rows >= image.height:
        return to_rgb(image)
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        rgb.paste(to_rgb(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return rgb


def _from_wide(image: Image.Image, white: int) -> Image.Image:
    wide = np.clip(np.asarray(image, np.int64), 0, white)
    return Image.fromarray(((wide * 255 + white // 2) // white).astype(np.uint8)).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _from_array(pixels: Array, channels: int) -> Image.Image:
    if channels == 1 and (pixels.ndim == 2 or pixels.shape[2:] == (1,)):
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        taken = "RGB of shape (H, W, 3)" if channels == 3 else "grey (H, W) or RGB (H, W, 3)"
        raise ImageError(f"array of {pixels.dtype} {pixels.shape} is not an image: pass uint8 {taken}")
    return Image.fromarray(np.ascontiguousarray(pixels))
