"""What the user says of a network: how its images were prepared in training, and their size."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_runtime.errors import ArtifactError
from edge_runtime.specs import DEFAULTS, InputSpec

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Convention:
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

PIXELS = "none"

DECODE = "scaled"
"""How the conventions decode large JPEGs, of which they say nothing; `benchmarks/RUNTIME.md` measures its effect."""


def check_preprocessing(preprocessing: str) -> None:
    """Raise `ArtifactError` if this is neither a convention nor a file."""
    if preprocessing not in CONVENTIONS and not Path(preprocessing).is_file():
        raise ArtifactError(
            f"--preprocessing {preprocessing} is neither {', '.join(CONVENTIONS)} nor a JSON file that exists"
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
    return {**spec.to_json(), **{key: getattr(spec, key) for key in DEFAULTS}}


def _from_file(path: Path, height: int | None, width: int | None, channels: int) -> InputSpec:
    silent = replace(_of_convention(PIXELS, height or 1, width or 1, channels), decode="full")
    known = every_key(silent)
    left_out = {"mean", "std", *(["height"] if height is None else []), *(["width"] if width is None else [])}
    try:
        value = {key: known[key] for key in known if key not in left_out} | json.loads(path.read_text())
        unknown = sorted(value.keys() - known.keys())
        if unknown:
            raise ArtifactError(f"{unknown[0]!r} is none of {', '.join(known)}")
        if "height" not in value or "width" not in value:
            _known(f"{path}", None, None)
        return InputSpec.from_json(value)
    except (ArtifactError, ValueError, TypeError, OSError, RecursionError) as error:
        raise ArtifactError(f"--preprocessing {path} does not describe how images are prepared: {error}") from error


def _known(preprocessing: str, height: int | None, width: int | None) -> tuple[int, int]:
    if height is None or width is None:
        raise ArtifactError(f"{preprocessing} says no height and width, and the model takes any: pass --input-size")
    return height, width
