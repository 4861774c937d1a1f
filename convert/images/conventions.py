"""What the user says of a network: how its images were preprocessed in training, and the names of its classes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import SourceError
from edge_runtime import EdgeError, InputSpec

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Convention:
    """Normalization of pixels: (pixel - mean) / std, in this channel order."""

    mean: Triple
    std: Triple
    channel_order: str = "RGB"


CONVENTIONS = {
    "tf": Convention((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "caffe": Convention((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "BGR"),
    "torch": Convention((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "none": Convention((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""As `keras.applications.imagenet_utils.preprocess_input` defines its modes; "none" feeds 0..255."""

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


def input_spec(preprocessing: str, height: int, width: int) -> InputSpec:
    """Return how the images of a network are preprocessed.

    `preprocessing` is a key of `CONVENTIONS`, or the path of a JSON file with the keys of a card's `preprocessing`; it
    may omit height and width, and `decode`, which is then "full" as in a card. A convention that is unknown, or a file
    that is unreadable or for another size, is a `SourceError`.
    """
    check_preprocessing(preprocessing)
    if preprocessing in CONVENTIONS:
        convention = CONVENTIONS[preprocessing]
        return InputSpec(height, width, convention.mean, convention.std, convention.channel_order, decode=DECODE)
    path = Path(preprocessing)
    silent = InputSpec(height, width, CONVENTIONS["none"].mean, CONVENTIONS["none"].std)
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
    return spec


def every_key(spec: InputSpec) -> dict[str, Any]:
    """Return a specification as JSON values, with `decode`, which a card leaves out if it has its default."""
    return {**spec.to_json(), "decode": spec.decode}


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
