"""Captures frames in a thread of its own: the newest waits for whoever asks, older ones are dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge_runtime._prefetch import prefetch
from edge_runtime.camera.sources import Camera
from edge_runtime.errors import CameraError
from edge_runtime.preprocess import ImageSource

RETRY_S = 1.0
CLOSING_S = 2.0
"""How long the end waits for a camera to close; one that hangs must not hold it up."""


@dataclass(frozen=True)
class Captured:
    """One frame: its number, counted from 0 with those dropped, the frame, and when it came, in Unix seconds."""

    number: int
    image: ImageSource
    time: float


@contextmanager
def newest_frames(camera: Camera, note: Callable[[str], object]) -> Iterator[Iterator[Captured]]:
    """Capture frames until the block is left; each step of the iterator gives the newest that was not given yet.

    A camera that breaks off is opened again every second, and `note` is told when it breaks off and when it is back.

    Raises:
        CameraError: in the iterator: the camera breaks off, or ends, before its first frame.
    """
    closed = threading.Event()
    frames = prefetch(_numbered(camera, note, closed), drop=True)
    try:
        yield frames
    finally:
        frames.close()
        closed.wait(CLOSING_S)


def _numbered(camera: Camera, note: Callable[[str], object], closed: threading.Event) -> Iterator[Captured]:
    try:
        for number, image in enumerate(_reconnecting(camera, note)):
            yield Captured(number, image, time.time())
    finally:
        closed.set()


def _reconnecting(camera: Camera, note: Callable[[str], object]) -> Iterator[ImageSource]:
    answered, connected = False, True
    while True:
        try:
            for image in camera.frames():
                if not connected:
                    note(f"note: {camera.name} is back")
                answered = connected = True
                yield image
            raise CameraError(f"{camera.name} ended")
        except CameraError as error:
            if not answered:
                raise
            if connected:
                note(f"warning: {error}; connecting again every second")
            connected = False
        time.sleep(RETRY_S)
