"""Raspberry Pi's own cameras, through picamera2."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from edge_runtime.camera.expectations import SIZE
from edge_runtime.errors import CameraError, first_line
from edge_runtime.preprocess import ImageSource

RGB_ARRAY = "BGR888"
"""libcamera names the bytes of a pixel from the last to the first: this is R, G, B in an array."""

INSTALL = "sudo apt install python3-picamera2, and python3 -m venv --system-site-packages for the environment"


class PiCamera:
    """The camera "picamera2" or, by number, "picamera2:1"."""

    def __init__(self, text: str) -> None:
        self.name = text
        self._number = int(text.partition(":")[2] or 0)

    def frames(self) -> Iterator[ImageSource]:
        """Yield RGB arrays (480, 640, 3), uint8, each captured after it was asked for; see `Camera.frames`."""
        camera = self._opened()
        try:
            while True:
                yield camera.capture_array("main")
        except Exception as error:  # whatever libcamera says when the cable comes off
            raise CameraError(f"{self.name} broke off: {first_line(error)}") from error
        finally:
            camera.close()

    def _opened(self) -> Any:
        try:
            picamera2 = importlib.import_module("picamera2")
        except Exception as error:  # ValueError where NumPy is not the one that it was built for
            raise CameraError(f"{self.name} cannot be imported: {first_line(error)}; {INSTALL}") from error
        try:
            camera = picamera2.Picamera2(self._number)
        except Exception as error:
            advice = "rpicam-hello --list-cameras lists those there are; only one program can use one"
            raise CameraError(f"{self.name} cannot be opened: {first_line(error)}; {advice}") from error
        try:
            camera.configure(camera.create_video_configuration(main={"size": SIZE, "format": RGB_ARRAY}))
            camera.start()
        except Exception as error:
            camera.close()
            raise CameraError(f"{self.name} cannot be started: {first_line(error)}") from error
        return camera
