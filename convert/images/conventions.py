"""How images were prepared in training, as the host's commands are told: errors are those of a source."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from convert.errors import PreprocessingUnknownError, as_source_errors
from edge_runtime import ArtifactError, InputSpec, conventions
from edge_runtime.conventions import (
    CONVENTIONS,
    DECODE,
    FIT_HELP,
    GEOMETRIES,
    PIXELS,
    Convention,
    every_key,
    fit_text,
)

__all__ = [
    "CONVENTIONS",
    "DECODE",
    "FIT_HELP",
    "GEOMETRIES",
    "PIXELS",
    "Convention",
    "check_fit",
    "check_preprocessing",
    "every_key",
    "fit_text",
    "fitted",
    "fitted_alike",
    "input_spec",
    "says_geometry",
    "unknown_preprocessing",
]

GEOMETRY_KEYS = {"fit", "fit_as", "crop_fraction", "pad_color", "resize"}
"""What a JSON file may say of how pictures are fitted to the tensor."""


def unknown_preprocessing(source: Path | None) -> PreprocessingUnknownError:
    """Return the error for a network of which neither its file nor the user says how its images were prepared."""
    return PreprocessingUnknownError(
        f"{source} does not say how its images were prepared: pass --preprocessing, or write it into irv2.toml, as in "
        "training: tf (pixels from -1 to 1), unit (0 to 1), none (0 to 255), torch, caffe or a JSON file; 20 or more "
        "images of --validation in class folders choose it where they tell"
    )


def check_preprocessing(preprocessing: str, option: str = "--preprocessing") -> None:
    """Raise `SourceError` if this, which `option` says, is neither a convention nor a file that describes images."""
    with as_source_errors():
        conventions.check_preprocessing(preprocessing, option)
        if preprocessing not in CONVENTIONS:
            _check_file(preprocessing)


def _check_file(path: str) -> None:
    """Raise `ArtifactError` if a file does not serve images of any size, in grey or in colours."""
    said: object = {}
    with suppress(OSError, ValueError, RecursionError):  # `input_spec` words it
        said = json.loads(Path(path).read_text())
    height, width = (said.get(side, 1) if isinstance(said, dict) else 1 for side in ("height", "width"))
    with suppress(ArtifactError):
        conventions.input_spec(path, height, width, channels=1)
        return
    conventions.input_spec(path, height, width)


def input_spec(preprocessing: str, height: int, width: int, channels: int = 3) -> InputSpec:
    """Return how the images of a network are prepared: `edge_runtime.conventions`, errors as `SourceError`."""
    with as_source_errors():
        return conventions.input_spec(preprocessing, height, width, channels)


def check_fit(fit: str) -> None:
    """Raise `SourceError` if this cannot be said to `--fit`."""
    with as_source_errors():
        conventions.fitted(conventions.input_spec(PIXELS, 224, 224), fit)


def fitted(spec: InputSpec, fit: str | None) -> InputSpec:
    """Return a specification with what `--fit` says: `edge_runtime.conventions`, errors as `SourceError`."""
    with as_source_errors():
        return conventions.fitted(spec, fit)


def says_geometry(preprocessing: str) -> bool:
    """Return whether what `input_spec` takes says how pictures are fitted; a convention does not."""
    return preprocessing not in CONVENTIONS and not GEOMETRY_KEYS.isdisjoint(
        json.loads(Path(preprocessing).read_text())
    )


def fitted_alike(spec: InputSpec, preprocessing: str | None, other: InputSpec) -> InputSpec:
    """Return a specification that fits pictures as another does, unless what it was made from says how.

    That is `preprocessing`, a convention or a file, or None for what a network says itself. A file also says how JPEGs
    are decoded.
    """
    if preprocessing is not None and says_geometry(preprocessing):
        return spec
    alike = replace(spec, **{key: getattr(other, key) for key in (*GEOMETRY_KEYS, "decode")})
    return alike if preprocessing in (None, *CONVENTIONS) else replace(alike, decode=spec.decode)
