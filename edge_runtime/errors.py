"""Every failure a user can cause, as one tree:

    EdgeError
    ├── ArtifactError         the model file is damaged, foreign, or lacks what was asked of it
    ├── ImageError            an image cannot be read, or is too large to be read safely
    ├── EngineError           no interpreter is installed, or it refuses the model
    │   └── DelegateError     a delegate is unknown, or was asked for strictly and cannot be used
    └── convert.errors.*      what can go wrong on the host

Each message is one line that names the offending value and the next step.
"""


class EdgeError(Exception):
    """Base of all errors of this project."""


class ArtifactError(EdgeError):
    """The model file is damaged, foreign, or lacks what was asked of it."""


class ImageError(EdgeError):
    """An image cannot be read, or is too large to be read safely."""


class EngineError(EdgeError):
    """No interpreter is installed, or it refuses the model."""


class DelegateError(EngineError):
    """A delegate is unknown, or was asked for strictly and cannot be used."""
