"""What a network takes and returns: how its images are prepared, and what its input and output tensors hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge_runtime.errors import ArtifactError
from edge_runtime.geometry import FITS, FITS_AS, KERAS, PAD, STRETCH, Placement, place
from edge_runtime.jpeg_scaling import DECODINGS
from edge_runtime.resampling import RESIZE_FILTERS, TENSORFLOW_FILTERS

CHANNELS = (1, 3)
CHANNEL_ORDERS = ("RGB", "BGR")
ENCODINGS = ("pixels", "normalized")
SOFTMAX, INDEPENDENT = "softmax", "independent"
HEADS = (SOFTMAX, INDEPENDENT)
"""What a network ends in: a softmax over classes that exclude each other, or a sigmoid for each of several labels."""
BINARY = "binary"
"""In the `source` of a card: one sigmoid unit, which was shipped as the softmax over two classes that equals it."""
THRESHOLD = 0.5
"""Probability from which on an independent label counts as there."""
READERS: dict[str, Callable[[Any], Any]] = {
    "height": int,
    "width": int,
    "mean": lambda values: tuple(map(float, values)),
    "std": lambda values: tuple(map(float, values)),
    "channel_order": str,
    "resize": str,
    "crop_fraction": float,
    "decode": str,
    "channels": int,
    "fit": str,
    "fit_as": str,
    "pad_color": lambda value: tuple(value) if isinstance(value, (list, tuple)) else (value,),
}
"""Key of an `InputSpec` in a card -> what reads its value."""
DEFAULTS = {"decode": "full", "channels": 3, "fit": STRETCH, "fit_as": KERAS, "pad_color": [0]}
"""Keys that a card leaves out where they have these values: cards written before there was a choice lack them."""


@dataclass(frozen=True)
class InputSpec:
    """How images are prepared for a network.

    Attributes:
        height, width: of the input tensor, in pixels.
        mean, std: per channel of the tensor, in units of a pixel (0..255): real = (pixel - mean) / std.
        channel_order: "RGB" or "BGR".
        resize: a key of `RESIZE_FILTERS`; the filters are Pillow's, antialiased when they shrink, or TensorFlow's.
        crop_fraction: the central part that is kept; 1 keeps everything that `fit` does.
        decode: a key of `DECODINGS`: "full", or "scaled" to decode large JPEG files at a fraction of their size.
        channels: 3; or 1 for grey, the luma of ITU-R 601, whose `mean` and `std` are one number each.
        fit: "stretch", the whole picture, whatever its proportions; "crop", the largest central part of the tensor's
            proportions; "pad", the whole picture in its own proportions, on a ground of `pad_color`.
        fit_as: the library whose order and roundings `fit` has, one of `geometry.FITS_AS`: "keras" cuts or pads and
            then resizes, "torchvision" resizes first; see `geometry.PLACES`.
        pad_color: one pixel value, or one for each of R, G and B, within 0..255.

    Raises:
        ArtifactError: a value is out of range.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str = "RGB"
    resize: str = "bilinear"
    crop_fraction: float = 1.0
    decode: str = "full"
    channels: int = 3
    fit: str = STRETCH
    fit_as: str = KERAS
    pad_color: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise ArtifactError(f"preprocessing: size {self.height}x{self.width} is not within 1..4096 pixels")
        if self.channels not in CHANNELS:
            raise ArtifactError(f"preprocessing: {self.channels!r} channels are none of {CHANNELS}")
        each = f"{self.channels} finite number{'s' if self.channels > 1 else ''} each"
        if {len(self.mean), len(self.std)} != {self.channels} or not np.all(np.isfinite([*self.mean, *self.std])):
            raise ArtifactError(f"preprocessing: mean {self.mean} and std {self.std} must be {each}")
        if min(self.std) <= 0:
            raise ArtifactError(f"preprocessing: std {self.std} must be positive")
        if self.channel_order not in CHANNEL_ORDERS:
            raise ArtifactError(f"preprocessing: channel order {self.channel_order!r} is none of {CHANNEL_ORDERS}")
        if self.resize not in RESIZE_FILTERS:
            raise ArtifactError(f"preprocessing: resize filter {self.resize!r} is none of {tuple(RESIZE_FILTERS)}")
        self._check_geometry()
        if self.decode not in DECODINGS:
            raise ArtifactError(f"preprocessing: decode {self.decode!r} is none of {tuple(DECODINGS)}")

    def _check_geometry(self) -> None:
        if self.fit not in FITS:
            raise ArtifactError(f"preprocessing: fit {self.fit!r} is none of {FITS}")
        if self.fit_as not in FITS_AS:
            raise ArtifactError(f"preprocessing: fit_as {self.fit_as!r} is none of {FITS_AS}")
        if not 0 < self.crop_fraction <= 1:
            raise ArtifactError(f"preprocessing: crop fraction {self.crop_fraction} is not within 0..1")
        if self.fit == PAD and self.crop_fraction != 1:
            raise ArtifactError(
                f"preprocessing: crop fraction {self.crop_fraction} cuts off what fit {PAD!r} keeps: leave it at 1"
            )
        values = self.pad_color
        if len(values) not in (1, self.channels) or not all(type(each) is int and 0 <= each <= 255 for each in values):
            raise ArtifactError(
                f"preprocessing: pad_color {values} must be a whole number within 0..255, or one for each channel"
            )
        object.__setattr__(self, "pad_color", values[:1] if len(set(values)) == 1 else values)

    @property
    def geometry(self) -> str:
        """Return in a few words how a picture of any shape becomes one of the tensor's: "crop 0.875 as torchvision"."""
        part = f" {self.crop_fraction:.4g}" if self.crop_fraction != 1 else ""
        color = f" {' '.join(map(str, self.pad_color))}" if self.fit == PAD else ""
        return f"{self.fit}{part}{color}{'' if self.fit_as == KERAS else f' as {self.fit_as}'}"

    @property
    def is_antialiased(self) -> bool:
        """Return whether every pixel counts where a picture is shrunk, so that it may be decoded at a fraction."""
        return self.resize not in TENSORFLOW_FILTERS

    def placement(self, width: int, height: int) -> Placement:
        """Return where an upright picture of this size lies in the tensor."""
        return place((width, height), (self.width, self.height), self.fit, self.fit_as, self.crop_fraction)

    def to_json(self) -> dict[str, Any]:
        """Return the specification as a card holds it: without what has its value in `DEFAULTS`."""
        mean, std = [float(value) for value in self.mean], [float(value) for value in self.std]
        crop_fraction = float(self.crop_fraction)
        value = {**asdict(self), "mean": mean, "std": std, "crop_fraction": crop_fraction, "exif": "transpose"}
        value["pad_color"] = list(self.pad_color)
        return {key: each for key, each in value.items() if key not in DEFAULTS or each != DEFAULTS[key]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> InputSpec:
        """Read what `to_json` wrote; raise `ArtifactError` for anything else."""
        try:
            if value["exif"] != "transpose":
                raise ArtifactError(f"preprocessing: EXIF rule {value['exif']!r} is not known to this version")
            if unknown := sorted(value.keys() - READERS.keys() - {"exif"}):
                raise ArtifactError(f"preprocessing: {unknown[0]!r} is not known to this version: update irv2-edge")
            complete = {**DEFAULTS, **value}
            return cls(**{key: read(complete[key]) for key, read in READERS.items()})
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ArtifactError(f"preprocessing is not described completely: {error!r}") from error


@dataclass(frozen=True)
class TensorSpec:
    """The input or the output tensor of a network.

    Attributes:
        name: of the signature's argument: "image" or "probabilities".
        dtype: "uint8", "int8", "int16" or "float32".
        scale, zero_point: real = scale * (q - zero_point); None for float32.
        encoding: "pixels": the tensor holds the pixels themselves (int8: minus 128), without arithmetic;
            "normalized": it holds (pixels - mean) / std, quantized if the dtype is an integer.

    Raises:
        ArtifactError: a value is out of range.
    """

    name: str
    dtype: str
    scale: float | None = None
    zero_point: int | None = None
    encoding: str = "normalized"

    def __post_init__(self) -> None:
        if self.dtype not in ("uint8", "int8", "int16", "float32"):
            raise ArtifactError(f"tensor {self.name} has dtype {self.dtype!r}: export it as float32 or 8-bit integers")
        if self.encoding not in ENCODINGS:
            raise ArtifactError(f"tensor {self.name} has encoding {self.encoding!r}, none of {ENCODINGS}")
        if self.encoding == "pixels" and self.dtype not in ("uint8", "int8"):
            raise ArtifactError(f"tensor {self.name} cannot hold pixels as {self.dtype}: only uint8 and int8 can")
        if not _is_affine(self.scale, self.zero_point):
            raise ArtifactError(
                f"tensor {self.name} has scale {self.scale!r} and zero point {self.zero_point!r}: "
                "a positive number and an integer, or neither"
            )


def _is_affine(scale: float | None, zero_point: int | None) -> bool:
    if scale is None or zero_point is None:
        return scale is zero_point
    return isinstance(scale, (int, float)) and math.isfinite(scale) and scale > 0 and isinstance(zero_point, int)
