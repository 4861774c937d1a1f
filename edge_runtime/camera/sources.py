"""Which camera a text names: Raspberry Pi's own, a V4L2 device, an MJPEG stream, a folder that is being filled."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from edge_runtime.errors import CameraError
from edge_runtime.preprocess import ImageSource


class Camera(Protocol):
    """Something that yields frames.

    Attributes:
        name: what messages call it.
    """

    name: str

    def frames(self) -> Iterator[ImageSource]:
        """Open the camera and yield its frames until it ends; closing the iterator closes the camera.

        Raises:
            CameraError: it cannot be opened, or breaks off.
        """


class Kind(NamedTuple):
    """One kind of camera: what its texts look like, what opens it, and how messages describe the texts."""

    matches: Callable[[str], object]
    opener: str
    accepted: str

    def open(self, text: str) -> Camera:
        """Return the camera that a text names, not yet opened."""
        module, _, name = self.opener.partition(":")
        camera: Camera = getattr(importlib.import_module(f"edge_runtime.camera.{module}"), name)(text)
        return camera


KINDS = (
    Kind(re.compile(r"picamera2(:\d+)?").fullmatch, "picamera:PiCamera", "picamera2 (or picamera2:1 for the second)"),
    Kind(re.compile(r"/dev/.+").fullmatch, "v4l2:V4l2Camera", "a V4L2 device such as /dev/video0"),
    Kind(re.compile(r"https?://.+").fullmatch, "mjpeg:MjpegStream", "an MJPEG stream such as http://HOST/stream.mjpg"),
    Kind(os.path.isdir, "folder:FilledFolder", "a folder that is being filled"),
)
ACCEPTED = "; ".join(kind.accepted for kind in KINDS)


def find_camera(text: str) -> Camera:
    """Return the camera that a text names, not yet opened; raise `CameraError` if it names none."""
    for kind in KINDS:
        if kind.matches(text):
            return kind.open(text)
    raise CameraError(f"camera {text!r} is none that can be read: pass {ACCEPTED}")
