"""What the user says of a network: how its images were preprocessed in training, and the names of its classes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convert.errors import SourceError
from edge_runtime import EdgeError, InputSpec
from edge_runtime.specs import DEFAULTS

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


def unknown_preprocessing(source: Path | None, option: str = "--preprocessing") -> SourceError:
    """Return the error for a network of which neither its file nor the user says how its images were prepared."""
    return SourceError(
        f"{source} does not say how its images were prepared: pass {option} {'|'.join(CONVENTIONS)} or a JSON file"
    )


def check_preprocessing(preprocessing: str) -> None:
    """Raise `SourceError` if this is neither a convention nor a file."""
    if preprocessing not in CONVENTIONS and not Path(preprocessing).is_file():
        raise SourceError(
            f"--preprocessing {preprocessing} is neither {', '.join(CONVENTIONS)} nor a JSON file that exists"
        )


def input_spec(preprocessing: str, height: int, width: int, channels: int = 3) -> InputSpec:
    """Return how the images of a network are preprocessed, which are grey if they have one channel.

    `preprocessing` is a key of `CONVENTIONS`, or the path of a JSON file with the keys of a card's `preprocessing`; it
    may omit height and width, and `decode`, which is then "full" as in a card. A convention that is unknown, or a file
    that is unreadable or for another size, is a `SourceError`.
    """
    check_preprocessing(preprocessing)
    if preprocessing in CONVENTIONS:
        return _of_convention(preprocessing, height, width, channels)
    path = Path(preprocessing)
    silent = replace(_of_convention(PIXELS, height, width, channels), decode="full")
    defaults = every_key(silent)
    try:
        value = {key: defaults[key] for key in defaults if key not in ("mean", "std")} | json.loads(path.read_text())
        unknown = sorted(value.keys() - defaults.keys())
        if unknown:
            raise SourceError(f"{unknown[0]!r} is none of {', '.join(defaults)}")
        spec = InputSpec.from_json(value)
    except (EdgeError, ValueError, TypeError, OSError, RecursionError) as error:
        raise SourceError(f"--preprocessing {path} does not describe how images are prepared: {error}") from error
    if (spec.height, spec.width) != (height, width):
        raise SourceError(
            f"--preprocessing {path} makes {spec.height}x{spec.width} images, the network takes {height}x{width}"
        )
    if spec.channels != channels:
        raise SourceError(
            f"--preprocessing {path} makes images of {spec.channels} channels, the network takes {channels}"
        )
    return spec


def _of_convention(name: str, height: int, width: int, channels: int) -> InputSpec:
    convention = CONVENTIONS[name]
    if channels == 1 and not convention.serves_grey:
        grey = [each for each, other in CONVENTIONS.items() if other.serves_grey]
        raise SourceError(
            f"--preprocessing {name} is for three channels, the network takes grey images: pass {'|'.join(grey)} or a "
            "JSON file"
        )
    mean, std = convention.mean[:channels], convention.std[:channels]
    return InputSpec(height, width, mean, std, convention.channel_order, decode=DECODE, channels=channels)


def every_key(spec: InputSpec) -> dict[str, Any]:
    """Return a specification as JSON values, also with what a card leaves out where it has its default."""
    return {**spec.to_json(), **{key: getattr(spec, key) for key in DEFAULTS}}


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the lines of a label file; a `SourceError` if it cannot be read, is empty, or has a label twice."""
    try:
        labels = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"--labels {path} cannot be read as UTF-8 text: {error}") from error
    if not labels:
        raise SourceError(f"--labels {path} is empty: write one label a line")
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise SourceError(f"--labels {path} has {twice!r} twice: every class needs a label of its own")
    return labels
