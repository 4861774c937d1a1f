"""V4L2 cameras, of which a driver written for the tests plays the part: no camera was there to try it on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_runtime.camera.v4l2 import Form, V4l2Camera, from_jpeg, from_yuyv
from edge_runtime.errors import CameraError
from edge_runtime.preprocess import Pixels, load_pixels
from tests.edge_runtime.cameras import colour_of, jpeg, watching
from tests.edge_runtime.conftest import COLOURS
from tests.edge_runtime.plugins import COMPILER, compile_library
from tests.edge_runtime.tiny_model import LABELS, SPEC

DEVICE = "/dev/video42"
SOURCE = Path(__file__).with_name("v4l2_stand_in.c")
WIDTH, HEIGHT, ROW_BYTES, DAMAGED = 32, 24, 80, 1
"""As the driver has them."""


def yuyv(rgb: tuple[int, int, int]) -> bytes:
    """A picture of one colour in studio range, by the definition of BT.601, with rows longer than the picture."""
    red, green, blue = (value / 255 for value in rgb)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    values = [16 + 219 * luma, 128 + 224 * (blue - luma) / 1.772, 16 + 219 * luma, 128 + 224 * (red - luma) / 1.402]
    row = bytes(round(value) for value in values) * (WIDTH // 2)
    return (row + b"\xaa" * (ROW_BYTES - len(row))) * HEIGHT


FRAMES = {"MJPG": jpeg, "YUYV": lambda colour: yuyv(COLOURS[colour])}


@pytest.fixture
def driver(tmp_path: Path) -> dict[str, str]:
    """Compile the driver; return the environment in which it answers."""
    pytest.importorskip("videodev2", reason="pip install videodev2")
    if COMPILER is None:
        pytest.skip("there is no C compiler called cc to build v4l2_stand_in.c with")
    frames = tmp_path / "frames"
    frames.mkdir()
    library = compile_library(SOURCE, tmp_path)
    return {"LD_PRELOAD": str(library), "STAND_IN_DEVICE": DEVICE, "STAND_IN_FRAMES": str(frames)}


@pytest.mark.parametrize("code", list(FRAMES))
def test_frames_are_answered_and_an_unplugged_camera_is_opened_again(
    artifact_path: Path, driver: dict[str, str], code: str
) -> None:
    for number in range(7):
        (Path(driver["STAND_IN_FRAMES"]) / str(number)).write_bytes(FRAMES[code](colour_of(number)))
    sent = [colour_of(number) for number in range(7) if number != DAMAGED]
    with watching(artifact_path, "--camera", DEVICE, "--json", **driver, STAND_IN_FORMAT=code) as running:
        while (row := running.row())["frame"] < len(sent):
            assert row["error"] is None
            assert row["predictions"][0]["label"] == sent[row["frame"]]
        assert row["predictions"][0]["label"] == sent[row["frame"] - len(sent)]
        assert running.message() == (
            f"irv2-predict: warning: {DEVICE} cannot be read: No such device; "
            "is it still plugged in, and a camera?; connecting again every second\n"
        )
        assert running.message() == f"irv2-predict: note: {DEVICE} is back\n"
        code_at_end, _ = running.stop()
    assert code_at_end == 130


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"STAND_IN_FORMAT": "BA81"}, "has BA81, none of MJPG, JPEG, YUYV: for Raspberry Pi's own cameras, --camera"),
        ({"STAND_IN_FORMAT": "MJPG", "STAND_IN_METADATA": "1"}, "captures no video: most cameras have several devices"),
    ],
)
def test_devices_that_are_no_camera_say_so(
    artifact_path: Path, driver: dict[str, str], variables: dict[str, str], message: str
) -> None:
    with watching(artifact_path, "--camera", DEVICE, **driver, **variables) as running:
        assert running.message().startswith(f"irv2-predict: error: {DEVICE} {message}")


def test_a_device_that_is_not_there() -> None:
    pytest.importorskip("videodev2", reason="pip install videodev2")
    with pytest.raises(CameraError, match=r"/dev/video99 cannot be read: No such file .*; v4l2-ctl --list-devices"):
        next(V4l2Camera("/dev/video99").frames())


def test_a_device_of_another_kind() -> None:
    pytest.importorskip("videodev2", reason="pip install videodev2")
    with pytest.raises(CameraError, match="/dev/null cannot be read: Inappropriate ioctl for device; is it"):
        next(V4l2Camera("/dev/null").frames())


def test_without_its_package_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "videodev2", None)
    with pytest.raises(CameraError, match=r"/dev/video0 needs videodev2: pip install videodev2$"):
        next(V4l2Camera("/dev/video0").frames())


# What its bytes mean


def seen(frame: object) -> Pixels:
    assert isinstance(frame, (bytes, Image.Image))
    return load_pixels(frame, SPEC)


@pytest.mark.parametrize("colour", LABELS)
def test_yuyv_is_the_colour_it_was_made_from(colour: str) -> None:
    pixels = seen(from_yuyv(yuyv(COLOURS[colour]), Form(WIDTH, HEIGHT, ROW_BYTES, limited=True)))
    assert np.abs(pixels.astype(int) - COLOURS[colour]).max() <= 3


def test_yuyv_keeps_luma_apart_and_shares_colour() -> None:
    pixels = np.asarray(from_yuyv(bytes([255, 128, 0, 128] * 2), Form(4, 1, 8, limited=False)))
    assert pixels[0, :, 0].tolist() == [255, 0, 255, 0]


def test_yuyv_of_full_range_is_not_stretched() -> None:
    pixels = np.asarray(from_yuyv(bytes([100, 128, 16, 128]), Form(2, 1, 4, limited=False)))
    assert pixels[0].tolist() == [[100] * 3, [16] * 3]


def test_a_frame_that_is_too_short_is_none() -> None:
    assert from_yuyv(bytes(79), Form(4, 10, 8, limited=True)) is None
    assert from_jpeg(b"", Form(4, 10, 0, limited=True)) is None


def test_jpegs_without_huffman_tables_are_read() -> None:
    """As most webcams send them; the tables are then those of the JPEG standard, which Pillow writes by default."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), COLOURS["green"]).save(file, "JPEG", quality=95)
    whole = bare = file.getvalue()
    while (start := bare.find(b"\xff\xc4")) >= 0:
        bare = bare[:start] + bare[start + 2 + int.from_bytes(bare[start + 2 : start + 4], "big") :]
    assert len(bare) < len(whole)
    np.testing.assert_array_equal(seen(bare), seen(whole))
