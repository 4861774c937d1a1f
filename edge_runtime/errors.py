"""Every failure a user can cause on a device; `convert.errors` adds those of the host to the same tree.

Each message is one line that names the offending value and the next step.
"""


class EdgeError(Exception):
    """Base of all errors of this project."""


class ArtifactError(EdgeError):
    """The model file is damaged, foreign, or lacks what was asked of it."""


class ImageError(EdgeError):
    """An image cannot be read, or is too large to be read safely."""


class CameraError(EdgeError):
    """A camera is none that can be read, cannot be opened, or breaks off."""


class EngineError(EdgeError):
    """No interpreter is installed, or it refuses the model."""


class DelegateError(EngineError):
    """A delegate is unknown, or was asked for strictly and cannot be used."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the type of the error if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
