"""Errors of the host side, as part of the tree in `edge_runtime.errors`:

    EdgeError
    └── ConvertError
        ├── SourceError       the model, weights or labels to convert are missing, unsafe or do not fit
        ├── ImageSetError     a folder of images is empty, unreadable or overlaps another
        ├── LoweringError     the float .tflite is not the network it was made from
        ├── QuantizationError the scheme cannot be applied to this network
        └── MissingExtraError a command needs packages of an extra that is not installed

Each message is one line that names the offending value and the next step.
"""

from edge_runtime.errors import EdgeError


class ConvertError(EdgeError):
    """Base of all errors of the host side."""


class SourceError(ConvertError):
    """The model, weights or labels to convert are missing, unsafe or do not fit."""


class ImageSetError(ConvertError):
    """A folder of images is empty, unreadable or overlaps another."""


class LoweringError(ConvertError):
    """The float .tflite is not the network it was made from."""


class QuantizationError(ConvertError):
    """The scheme cannot be applied to this network."""


class MissingExtraError(ConvertError):
    """A command needs packages of an extra that is not installed."""
