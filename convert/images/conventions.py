"""How images were prepared in training, as the host's commands are told: errors are those of a source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from convert.errors import PreprocessingUnknownError, as_source_errors
from edge_runtime import InputSpec, conventions
from edge_runtime.conventions import (
    CONVENTIONS,
    DECODE,
    FIT_HELP,
    GEOMETRIES,
    PIXELS,
    Convention,
    every_key,
    with_geometry_of,
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
    "fitted",
    "fitted_alike",
    "input_spec",
    "unknown_preprocessing",
]


def unknown_preprocessing(source: Path | None, option: str = "--preprocessing") -> PreprocessingUnknownError:
    """Return the error for a network of which neither its file nor the user says how its images were prepared."""
    return PreprocessingUnknownError(
        f"{source} does not say how its images were prepared: pass {option} {'|'.join(CONVENTIONS)} or a JSON file"
    )


def check_preprocessing(preprocessing: str) -> None:
    """Raise `SourceError` if this is neither a convention nor a file."""
    with as_source_errors():
        conventions.check_preprocessing(preprocessing)


def input_spec(preprocessing: str, height: int, width: int, channels: int = 3) -> InputSpec:
    """Return how the images of a network are prepared: `edge_runtime.conventions`, errors as `SourceError`."""
    with as_source_errors():
        return conventions.input_spec(preprocessing, height, width, channels)


def check_fit(fit: str) -> None:
    """Raise `SourceError` if this cannot be said to `--fit`."""
    with as_source_errors():
        conventions.check_fit(fit)


def fitted(spec: InputSpec, fit: str | None) -> InputSpec:
    """Return a specification with what `--fit` says: `edge_runtime.conventions`, errors as `SourceError`."""
    with as_source_errors():
        return conventions.fitted(spec, fit)


def fitted_alike(spec: InputSpec, preprocessing: str | None, other: InputSpec) -> InputSpec:
    """Return a specification that fits pictures as another does, unless what it was made from says how.

    That is `preprocessing`, a convention or a file, or None for what a network says itself. A file also says how JPEGs
    are decoded.
    """
    if preprocessing is not None and conventions.says_geometry(preprocessing):
        return spec
    alike = with_geometry_of(spec, other)
    return alike if preprocessing in (None, *CONVENTIONS) else replace(alike, decode=spec.decode)
