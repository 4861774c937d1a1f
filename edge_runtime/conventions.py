"""What the user says of a network: how its images were prepared in training, and their size."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from edge_runtime.errors import ArtifactError
from edge_runtime.geometry import CROP, KERAS, PAD, STRETCH, TENSORFLOW, TORCHVISION
from edge_runtime.specs import DEFAULTS, InputSpec

Triple = tuple[float, float, float]
EXAMPLE = 'write it as {"mean": [127, 127, 127], "std": 128}'


class Convention(NamedTuple):
    """Normalization of pixels: (pixel - mean) / std, in this channel order."""

    mean: Triple
    std: Triple
    channel_order: str = "RGB"

    @property
    def serves_grey(self) -> bool:
        """Return whether all channels are treated alike."""
        return len(set(self.mean)) == len(set(self.std)) == 1 and self.channel_order == "RGB"


CONVENTIONS = {
    "tf": Convention((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "caffe": Convention((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "BGR"),
    "torch": Convention((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "unit": Convention((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "none": Convention((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""As `keras.applications.imagenet_utils.preprocess_input` defines its modes; "unit" feeds 0..1, "none" 0..255."""


class Geometry(NamedTuple):
    """How pictures of any shape became those of the tensor's.

    Attributes:
        fit, fit_as: see `InputSpec`.
        resize: the filter; None for the one that there is.
        fraction: of the tensor's shorter side and what the user gives, None for nothing, the `crop_fraction`; itself
            None where none can be given.
    """

    fit: str
    fit_as: str = KERAS
    resize: str | None = None
    fraction: Callable[[int, float | None], float] | None = None

    def applied(self, spec: InputSpec, value: str) -> InputSpec:
        """Return a specification with this geometry; `value`, "" for none, is a fraction, a side or a colour.

        TensorFlow's filters skip pixels where they shrink, and would read others of a JPEG that is decoded at a
        fraction: it is decoded in full.
        """
        side = min(spec.height, spec.width)
        placed = replace(
            spec,
            fit=self.fit,
            fit_as=self.fit_as,
            resize=self.resize or spec.resize,
            crop_fraction=1.0 if self.fraction is None else self.fraction(side, float(value) if value else None),
            pad_color=_color(value) if self.fit == PAD else (0,),
        )
        return placed if placed.is_antialiased else replace(placed, decode="full")


def _color(value: str) -> tuple[int, ...]:
    return tuple(int(each) for each in value.split(",")) if value else (0,)


def _part(side: int, value: float | None) -> float:
    """Return the fraction itself, or that of a side to which the picture's shorter one is resized."""
    return 1.0 if value is None else value if value <= 1 else side / value


def _imagenet(side: int, value: float | None) -> float:
    """Return the fraction that leaves a border of 32 pixels (`CROP_PADDING`) around the tensor."""
    return _part(side, side + 32 if value is None else value)


def _seven_eighths(side: int, value: float | None) -> float:
    return _part(side, 0.875 if value is None else value)


def _timm(side: int, value: float | None) -> float:
    """Return the fraction of a side to which timm resizes, floor(side / crop_pct)."""
    return side / math.floor(side / _seven_eighths(side, value))


GEOMETRIES = {
    "stretch": Geometry(STRETCH, fraction=_part),
    "crop": Geometry(CROP, fraction=_part),
    "pad": Geometry(PAD),
    "keras": Geometry(STRETCH, resize="tf-bilinear"),
    "keras-crop": Geometry(CROP, resize="tf-bilinear"),
    "keras-pad": Geometry(PAD, resize="tf-bilinear"),
    "load-img": Geometry(STRETCH, resize="nearest"),
    "imagenet-tf": Geometry(CROP, TENSORFLOW, "tf-bicubic", _imagenet),
    "torchvision": Geometry(CROP, TORCHVISION, "bilinear", _seven_eighths),
    "timm": Geometry(CROP, TORCHVISION, "bicubic", _timm),
}
"""What `--fit` takes. The first three leave the filter as it is; "keras" are those of `image_dataset_from_directory`,
without more, with `crop_to_aspect_ratio` and with `pad_to_aspect_ratio`; "load-img" is `keras.utils.load_img` with a
`target_size`; "imagenet-tf" the evaluation of TensorFlow's EfficientNet and ResNet; "torchvision" its presets for
classification, the shorter side to 256 for 224; "timm" the same with its `crop_pct` and its bicubic filter."""

FIT_HELP = (
    "How pictures of another shape were fitted to the network's: one of these, by default stretch, and after a colon "
    "the fraction that is kept, or the shorter side before the crop, as torchvision:232; for pad the colour."
)

PIXELS = "none"

DECODE = "scaled"
"""How the conventions decode large JPEGs, of which they say nothing; `benchmarks/RUNTIME.md` measures its effect."""


def check_preprocessing(preprocessing: str, option: str = "--preprocessing") -> None:
    """Raise `ArtifactError` if this, which `option` says, is neither a convention nor a file."""
    if preprocessing not in CONVENTIONS and not Path(preprocessing).is_file():
        raise ArtifactError(
            f"{option} {preprocessing} is neither {', '.join(CONVENTIONS)} nor a JSON file that exists: {EXAMPLE}"
        )


def input_spec(preprocessing: str, height: int | None, width: int | None, channels: int = 3) -> InputSpec:
    """Return how the images of a network of this size are prepared; None if only a file can say the size.

    `preprocessing` is a key of `CONVENTIONS`, or the path of a JSON file with the keys of a card's `preprocessing`; it
    may omit height and width, and `decode`, which is then "full" as in a card. Images of one channel are grey. A
    convention that is unknown, or a file that is unreadable or for another size, is an `ArtifactError`.
    """
    check_preprocessing(preprocessing)
    if preprocessing in CONVENTIONS:
        return _of_convention(preprocessing, *_known(preprocessing, height, width), channels)
    spec = _from_file(Path(preprocessing), height, width, channels)
    if (spec.height, spec.width) != (height or spec.height, width or spec.width):
        raise ArtifactError(
            f"--preprocessing {preprocessing} makes {spec.height}x{spec.width} images, "
            f"the network takes {height}x{width}"
        )
    if spec.channels != channels:
        raise ArtifactError(
            f"--preprocessing {preprocessing} makes images of {spec.channels} channels, the network takes {channels}"
        )
    return spec


def fitted(spec: InputSpec, fit: str | None) -> InputSpec:
    """Return a specification with what `--fit` says, a key of `GEOMETRIES` or key:value; itself for None.

    Raises:
        ArtifactError: it is none of these, or the value is no use.
    """
    if fit is None:
        return spec
    name, colon, value = fit.partition(":")
    geometry = GEOMETRIES.get(name)
    if geometry is None:
        from difflib import get_close_matches

        nearest = get_close_matches(name, GEOMETRIES, 1)
        meant = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise ArtifactError(f"--fit {fit} is none of {', '.join(GEOMETRIES)}{meant}")
    takes_value = geometry.fraction is not None or geometry.fit == PAD
    if bool(colon) != bool(value) or (value and not takes_value):
        raise ArtifactError(f"--fit {fit}: write {name}{f' or {name}:VALUE' if takes_value else ', without a value'}")
    try:
        return geometry.applied(spec, value)
    except (ArtifactError, ValueError, ZeroDivisionError, OverflowError) as error:
        what = "a colour, such as 114 or 124,116,104" if geometry.fit == PAD else "a fraction within 0..1, or a side"
        raise ArtifactError(f"--fit {fit}: {value} is not {what} ({error})") from error


def fit_text(spec: InputSpec) -> str | None:
    """Return what has to be said to `--fit` for how a specification fits pictures; None if nothing says it."""
    silent = replace(spec, fit=STRETCH, fit_as=KERAS, crop_fraction=1.0, pad_color=(0,))
    side = round(min(spec.height, spec.width) / spec.crop_fraction)
    color = ",".join(map(str, spec.pad_color))
    for name, geometry in sorted(GEOMETRIES.items(), key=lambda each: each[1].resize is None):  # theirs has a filter
        values = [f"{spec.crop_fraction:.4g}", str(side)] if geometry.fraction is not None else []
        for value in ["", *values, *([color] if geometry.fit == PAD else [])]:
            if replace(geometry.applied(silent, value), decode=spec.decode) == spec:
                return f"{name}:{value}" if value else name
    return None


def _of_convention(name: str, height: int, width: int, channels: int) -> InputSpec:
    convention = CONVENTIONS[name]
    if channels == 1 and not convention.serves_grey:
        grey = [each for each, other in CONVENTIONS.items() if other.serves_grey]
        raise ArtifactError(
            f"--preprocessing {name} is for three channels, the network takes grey images: pass {'|'.join(grey)} or a "
            "JSON file"
        )
    mean, std = convention.mean[:channels], convention.std[:channels]
    return InputSpec(height, width, mean, std, convention.channel_order, decode=DECODE, channels=channels)


def parse_size(text: str) -> tuple[int, int]:
    """Return height and width from "224" or "224x256"; raise `ValueError` for anything else."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() and 1 <= int(side[:6]) <= 4096 for side in sides):
        raise ValueError(f"{text!r} is not a size in pixels: pass N or HEIGHTxWIDTH, such as 224 or 224x256")
    return int(sides[0]), int(sides[-1])


def every_key(spec: InputSpec) -> dict[str, Any]:
    """Return a specification as JSON values, also with what a card leaves out where it has its default."""
    said = spec.to_json()
    return said | {key: DEFAULTS[key] for key in DEFAULTS if key not in said}


def _from_file(path: Path, height: int | None, width: int | None, channels: int) -> InputSpec:
    silent = replace(_of_convention(PIXELS, height or 1, width or 1, channels), decode="full")
    known = every_key(silent)
    left_out = {"mean", "std", *(["height"] if height is None else []), *(["width"] if width is None else [])}
    try:
        said = json.loads(path.read_text())
        value = {key: known[key] for key in known if key not in left_out} | said
        unknown = sorted(value.keys() - known.keys())
        if unknown:
            raise ArtifactError(f"{unknown[0]!r} is none of {', '.join(known)}; {EXAMPLE}")
        for key in ("mean", "std"):
            if key not in value:
                raise ArtifactError(f"it has no {key!r}; {EXAMPLE}")
            if isinstance(value[key], int | float):
                value[key] = [value[key]] * int(value["channels"])
        if "height" not in value or "width" not in value:
            _known(f"{path}", None, None)
        return InputSpec.from_json(value)
    except json.JSONDecodeError as error:
        raise ArtifactError(f"--preprocessing {path} is not valid JSON: {error}; {EXAMPLE}") from error
    except (ArtifactError, ValueError, TypeError, OSError, RecursionError) as error:
        raise ArtifactError(f"--preprocessing {path} does not describe how images are prepared: {error}") from error


def _known(preprocessing: str, height: int | None, width: int | None) -> tuple[int, int]:
    if height is None or width is None:
        raise ArtifactError(f"{preprocessing} says no height and width, and the model takes any: pass --input-size")
    return height, width
