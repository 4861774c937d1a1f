"""THE definition of image -> tensor: calibration, drift check and device all come through here.

    file or picture -> upright RGB -> central crop -> resize -> uint8 pixels -> (pixels - mean) / std

Where the card says so, a large JPEG is decoded at a fraction of its size: `edge_runtime/jpeg_scaling.py` has the rule.
The parameters stand in the artifact's card as an `InputSpec`; there are no defaults on a device.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from edge_runtime.errors import ArtifactError, ImageError
from edge_runtime.jpeg_scaling import DECODINGS, Box, Extent, draft

ImageSource = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 90_000_000
"""Pictures with more pixels are refused before they are decoded; RGB takes Pillow four bytes a pixel, 360 MB."""

MAX_PIXELS_OF = {"WEBP": 45_000_000}
"""The same, of formats whose decoder holds a picture several times; nothing may take more than a gigabyte."""

BAND_PIXELS = 2**20
"""So many pixels are converted at a time, where the way to RGB is wide."""

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Files of other formats are refused: Pillow knows dozens, and starts Ghostscript to read one of them."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""What the names of pictures end in, where a folder is searched for them."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes such a picture upright; any other value is upright already."""

WANTED = "pass JPEG, PNG, WebP, BMP, GIF or TIFF"
RESIZE_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
CHANNEL_ORDERS = ("RGB", "BGR")


@dataclass(frozen=True)
class InputSpec:
    """How a network wants its images.

    Attributes:
        height, width: of the tensor, pixels.
        mean, std: per channel of the tensor, in units of a pixel (0..255): real = (pixel - mean) / std.
        channel_order: "RGB" or "BGR".
        resize: a key of `RESIZE_FILTERS`; the filter is Pillow's, antialiased when it shrinks.
        crop_fraction: central part of both sides that is kept before resizing; 1 keeps everything. The
            kept part is stretched to height x width.
        decode: a key of `DECODINGS`: "full", or "scaled" for files of large JPEGs decoded at a fraction of their size.

    Raises:
        ArtifactError: a value is out of its range.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: str = "RGB"
    resize: str = "bilinear"
    crop_fraction: float = 1.0
    decode: str = "full"

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise ArtifactError(f"preprocessing: size {self.height}x{self.width} is not within 1..4096 pixels")
        if len(self.mean) != 3 or len(self.std) != 3 or not np.all(np.isfinite([*self.mean, *self.std])):
            raise ArtifactError(f"preprocessing: mean {self.mean} and std {self.std} must be 3 finite numbers each")
        if min(self.std) <= 0:
            raise ArtifactError(f"preprocessing: std {self.std} must be positive")
        if self.channel_order not in CHANNEL_ORDERS:
            raise ArtifactError(f"preprocessing: channel order {self.channel_order!r} is none of {CHANNEL_ORDERS}")
        if self.resize not in RESIZE_FILTERS:
            raise ArtifactError(f"preprocessing: resize filter {self.resize!r} is none of {tuple(RESIZE_FILTERS)}")
        if not 0 < self.crop_fraction <= 1:
            raise ArtifactError(f"preprocessing: crop fraction {self.crop_fraction} is not within 0..1")
        if self.decode not in DECODINGS:
            raise ArtifactError(f"preprocessing: decode {self.decode!r} is none of {tuple(DECODINGS)}")

    def to_json(self) -> dict[str, Any]:
        """The specification as it stands in a card; `decode` is left out of it where it is "full"."""
        mean, std = [float(value) for value in self.mean], [float(value) for value in self.std]
        crop_fraction = float(self.crop_fraction)
        value = {**asdict(self), "mean": mean, "std": std, "crop_fraction": crop_fraction, "exif": "transpose"}
        if self.decode == "full":
            del value["decode"]  # as in cards that were written before there was a choice, whose checksums hold
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> InputSpec:
        """Read what `to_json` wrote; `ArtifactError` on anything else."""
        try:
            if value["exif"] != "transpose":
                raise ArtifactError(f"preprocessing: EXIF rule {value['exif']!r} is not known to this version")
            if unknown := sorted(value.keys() - KEYS):
                raise ArtifactError(f"preprocessing: {unknown[0]!r} is not known to this version: update irv2-edge")
            mean, std = (tuple(float(x) for x in value[key]) for key in ("mean", "std"))
            return cls(
                height=int(value["height"]),
                width=int(value["width"]),
                mean=mean,  # type: ignore[arg-type]
                std=std,  # type: ignore[arg-type]
                channel_order=str(value["channel_order"]),
                resize=str(value["resize"]),
                crop_fraction=float(value["crop_fraction"]),
                decode=str(value.get("decode", "full")),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ArtifactError(f"preprocessing is not described completely: {error!r}") from error


KEYS = {*(field.name for field in fields(InputSpec)), "exif"}
"""Of a specification in a card."""


def load_pixels(source: ImageSource, spec: InputSpec) -> Pixels:
    """Read one picture as the network wants it, but for the scaling of its values.

    Args:
        source: path, bytes or open binary file of a picture, a PIL image, or RGB pixels (H, W, 3) uint8. Only
            files are decoded at a fraction of their size: a PIL image stays as large as it is.

    Returns:
        uint8 (spec.height, spec.width, 3) in the order of channels that the network wants.

    Raises:
        ImageError: the picture cannot be read or is too large.
    """
    rgb, extent = _upright_rgb(source, spec)
    resized = _resized(rgb, extent.kept_box(spec.crop_fraction), spec)
    pixels: Pixels = np.asarray(resized, np.uint8)
    return pixels[..., ::-1] if spec.channel_order == "BGR" else pixels


def normalize(pixels: Pixels, spec: InputSpec) -> npt.NDArray[np.float32]:
    """Scale uint8 pixels (..., 3) to the float32 values the network was trained on."""
    mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
    return ((pixels.astype(np.float32) - mean) / std).astype(np.float32)


def describe_source(source: ImageSource) -> str:
    """What to call `source` in a message."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return str(name or f"<{type(source).__name__}>")


def _upright_rgb(source: ImageSource, spec: InputSpec) -> tuple[Image.Image, Extent]:
    """The picture in RGB, upright, and where it lies in it."""
    if isinstance(source, np.ndarray):
        return _whole(_from_array(source))
    name = describe_source(source)
    try:
        if isinstance(source, Image.Image):
            _refuse_too_large(source, name)
            return _whole(to_rgb(_upright(source), name))
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file) as image:
            if image.format not in FORMATS:
                raise ImageError(f"{name} is a {image.format} file: {WANTED}")
            _refuse_too_large(image, name)
            extent = draft(image, name, (spec.width, spec.height), spec.crop_fraction, DECODINGS[spec.decode])
            upright = _upright(image)
            if upright is not image:
                image.close()  # two of the largest pictures fit into a gigabyte, three do not
            rgb = to_rgb(upright, name)
            return _whole(rgb) if extent is None else (rgb, extent)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture that can be read: {WANTED}") from error
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist: check the path") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} has more than {MAX_PIXELS:,} pixels: scale it down first") from error
    except Exception as error:  # on damaged files Pillow raises whatever it stumbles over, struct.error for one
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ImageError(f"{name} cannot be decoded: {reason}; save it again, or leave it out") from error


def _whole(image: Image.Image) -> tuple[Image.Image, Extent]:
    return image, Extent(*image.size)


def _refuse_too_large(image: Image.Image, name: str) -> None:
    most = MAX_PIXELS_OF.get(image.format or "", MAX_PIXELS)
    if image.width * image.height > most:
        raise ImageError(f"{name} has {image.width}x{image.height} pixels, more than {most:,}: scale it down first")


def _upright(image: Image.Image) -> Image.Image:
    """The first frame of `image`, turned as its EXIF data say; `image` itself where they say nothing."""
    image.load()  # a TIFF file is turned upright here, by Pillow
    turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image, name: str = "image") -> Image.Image:
    """`image` as RGB: palettes resolved, transparency on white, 16-bit grey scaled to 8 bits. RGB itself is no copy."""
    if image.mode in ("F", "LAB"):
        raise ImageError(f"{name} has pixels of mode {image.mode}, whose white is not defined: save it as 8-bit RGB")
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):
        return _by_bands(image, _from_16_bits)
    if image.has_transparency_data:
        return _by_bands(image, _on_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _by_bands(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What `to_rgb` makes of an image, a few rows at a time where it is large, for the sake of memory."""
    rows = max(1, BAND_PIXELS // image.width)
    if rows >= image.height:
        return to_rgb(image)
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        rgb.paste(to_rgb(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return rgb


def _from_16_bits(image: Image.Image) -> Image.Image:
    wide = np.clip(np.asarray(image, np.int64), 0, 65535)
    return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _from_array(pixels: npt.NDArray[Any]) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise ImageError(f"array of {pixels.dtype} {pixels.shape} is no image: pass uint8 RGB of shape (H, W, 3)")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _resized(rgb: Image.Image, box: Box, spec: InputSpec) -> Image.Image:
    """The part of a picture in `box`, as large as the tensor; of the pixels around it the filter sees none."""
    left, top, right, bottom = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
    if (left, top, right, bottom) != (0, 0, *rgb.size):
        rgb = rgb.crop((left, top, right, bottom))
    inner = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return rgb.resize((spec.width, spec.height), RESIZE_FILTERS[spec.resize], inner)
