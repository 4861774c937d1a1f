"""Errors of the host side, below `EdgeError`: each message is one line with the offending value and the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edge_runtime.errors import EdgeError


class ConvertError(EdgeError):
    """Base of all errors of the host side."""


class SourceError(ConvertError):
    """The model, weights or labels to convert are missing, unsafe or do not fit."""


class PreprocessingUnknownError(SourceError):
    """Neither the network nor the user says how its images were prepared."""


class SizeUnknownError(SourceError):
    """A network takes images of any size, and nobody says which."""


class ImageSetError(ConvertError):
    """A folder of images is empty, unreadable or overlaps another."""


class LoweringError(ConvertError):
    """The float .tflite is not the network it was made from."""


class DamagedModelError(LoweringError):
    """The bytes of a .tflite are no flatbuffer of a model."""


class QuantizationError(ConvertError):
    """The scheme cannot be applied to this network."""


class MissingExtraError(ConvertError):
    """A command needs packages of an extra that is not installed."""


@contextmanager
def as_source_errors() -> Iterator[None]:
    """Raise what the device's package says of a file that it cannot use as a `SourceError`."""
    try:
        yield
    except EdgeError as error:
        raise SourceError(str(error)) from error
