"""One slot for frames: the newest waits, older ones are dropped; what breaks off is opened again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edge_runtime.camera import capture
from edge_runtime.camera.capture import newest_frames
from edge_runtime.camera.sources import find_camera
from edge_runtime.errors import CameraError
from edge_runtime.preprocess import ImageSource


class Said:
    """Set when a camera is asked for what comes behind the frame before it, which then is in the slot."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set, self.wait = self._event.set, self._event.wait


class Scripted:
    """A camera that gives what it is told to, one list for each time it is opened.

    An error is raised, and an event is waited for.
    """

    name = "scripted"

    def __init__(self, *sessions: list[Any]) -> None:
        self._sessions = list(sessions)
        self.closed = 0

    def frames(self) -> Iterator[ImageSource]:
        if not self._sessions:
            threading.Event().wait()  # for ever, as daemons may
        try:
            for item in self._sessions.pop(0):
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, threading.Event):
                    item.wait(10)
                elif isinstance(item, Said):
                    item.set()
                else:
                    yield item
        finally:
            self.closed += 1


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "RETRY_S", 0.01)
    monkeypatch.setattr(capture, "CLOSING_S", 0.5)


def test_the_newest_frame_is_next_and_the_numbers_show_the_gap() -> None:
    seen, end = threading.Event(), threading.Event()
    passed = Said()
    camera = Scripted(["first.jpg", seen, *["more.jpg"] * 48, "last.jpg", passed, end])
    with newest_frames(camera, print) as frames:
        first = next(frames)
        seen.set()
        assert passed.wait(10), "the camera is not held up by nobody asking"
        newest = next(frames)
        end.set()
    assert (first.number, newest.number, newest.image) == (0, 49, "last.jpg")
    assert first.time <= newest.time <= time.time()


def test_the_camera_is_closed_when_the_block_is_left() -> None:
    camera = Scripted(["a.jpg", "b.jpg", "c.jpg"] * 1000)
    with newest_frames(camera, print) as frames:
        next(frames)
    assert camera.closed == 1


def test_a_camera_that_breaks_off_is_opened_again() -> None:
    notes: list[str] = []
    gone = CameraError("scripted broke off: no frame for 10 s")
    camera = Scripted(["a.jpg", gone], [CameraError("scripted cannot be opened")], ["b.jpg"])
    with newest_frames(camera, notes.append) as frames:
        found = [next(frames)]
        while found[-1].image != "b.jpg":
            found.append(next(frames))
    assert found[-1].number == 1, "numbers go on"
    assert notes[:2] == [
        "warning: scripted broke off: no frame for 10 s; connecting again every second",
        "note: scripted is back",
    ]


def test_a_camera_that_ends_is_opened_again_and_once_is_enough_to_say_so() -> None:
    notes: list[str] = []
    camera = Scripted(["a.jpg"], [], [], ["b.jpg"])
    with newest_frames(camera, notes.append) as frames:
        while next(frames).image != "b.jpg":
            pass
    assert notes[:2] == ["warning: scripted ended; connecting again every second", "note: scripted is back"]


@pytest.mark.parametrize("session", [[], [CameraError("scripted ended")]])
def test_a_camera_that_never_gave_a_frame_is_an_error(session: list[Any]) -> None:
    with newest_frames(Scripted(session), print) as frames, pytest.raises(CameraError, match="scripted ended"):
        next(frames)


@pytest.mark.parametrize("text", ["rtsp://host/live", "camera", "", "picamera2:", "0"])
def test_what_names_no_camera_is_told_what_does(text: str) -> None:
    with pytest.raises(CameraError) as error:
        find_camera(text)
    assert str(error.value).startswith(f"camera {text!r} is none that can be read: pass picamera2")
    for accepted in ("/dev/video0", "http://HOST/stream.mjpg", "a folder that is being filled"):
        assert accepted in str(error.value)
