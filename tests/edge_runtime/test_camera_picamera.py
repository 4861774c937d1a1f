"""Raspberry Pi's own camera, of which a stand-in plays the part: no Raspberry Pi was there to try it on."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from edge_runtime.camera.picamera import PiCamera
from edge_runtime.camera.sources import find_camera
from edge_runtime.errors import CameraError
from tests.edge_runtime.cameras import array, colour_of
from tests.edge_runtime.conftest import COLOURS


class StandIn:
    """Has the methods of picamera2.Picamera2 that are used, and keeps a record of the calls."""

    calls: list[object]
    frames = 3

    def __init__(self, number: int = 0) -> None:
        if number > 1:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.calls.append(("open", number))
        self._taken = 0

    def create_video_configuration(self, main: dict[str, Any]) -> dict[str, Any]:
        return main

    def configure(self, configuration: dict[str, Any]) -> None:
        self.calls.append(configuration)

    def start(self) -> None:
        self.calls.append("start")

    def capture_array(self, name: str) -> Any:
        assert name == "main"
        self._taken += 1
        if self._taken > self.frames:
            raise RuntimeError("Camera frontend has timed out!")
        return array(colour_of(self._taken - 1))

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Install the stand-in, and return its record."""
    module = types.ModuleType("picamera2")
    module.Picamera2 = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    StandIn.calls = []
    return StandIn.calls


def test_frames_are_rgb_arrays(calls: list[object]) -> None:
    frames = find_camera("picamera2").frames()
    colours = [tuple(next(frames)[0, 0]) for _ in range(3)]  # type: ignore[index,call-overload]
    assert colours == list(COLOURS.values())
    frames.close()  # type: ignore[attr-defined]
    assert calls == [("open", 0), {"size": (640, 480), "format": "BGR888"}, "start", "close"]


def test_the_second_camera(calls: list[object]) -> None:
    next(find_camera("picamera2:1").frames())
    assert calls[0] == ("open", 1)


def test_a_camera_that_breaks_off_is_closed(calls: list[object]) -> None:
    with pytest.raises(CameraError, match=r"picamera2 broke off: Camera frontend has timed out!"):
        list(PiCamera("picamera2").frames())
    assert calls[-1] == "close"


@pytest.mark.usefixtures("calls")
def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(CameraError, match=r"picamera2:2 cannot be opened: .* rpicam-hello --list-cameras"):
        next(PiCamera("picamera2:2").frames())


@pytest.mark.parametrize("reason", ["No module named 'picamera2'", "numpy.dtype size changed, may indicate"])
def test_without_picamera2_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    if "numpy" in reason:  # what simplejpeg, which picamera2 imports, raises under another NumPy

        def fail(_: str) -> None:
            raise ValueError(reason)

        monkeypatch.setattr("edge_runtime.camera.picamera.importlib.import_module", fail)
    with pytest.raises(CameraError, match=r"cannot be imported: .*; sudo apt install python3-picamera2") as error:
        next(PiCamera("picamera2").frames())
    assert reason in str(error.value) or "halted" in str(error.value)
