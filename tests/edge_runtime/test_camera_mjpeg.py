"""MJPEG over HTTP: what cameras send, and what else an address may answer."""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from edge_runtime.camera import mjpeg
from edge_runtime.camera.mjpeg import MjpegStream, read_parts
from edge_runtime.errors import CameraError
from tests.edge_runtime.cameras import MULTIPART, begin, jpeg, part, serving

FRAMES = [jpeg("red"), jpeg("green"), jpeg("blue")]


def test_parts_are_frames_in_order() -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        handler.wfile.write(b"".join(map(part, FRAMES)))

    with serving(respond) as address:
        assert list(MjpegStream(address).frames()) == FRAMES


@pytest.mark.parametrize(
    ("boundary", "line"),
    [
        ("frame", b"--frame"),
        ("--frame", b"--frame"),  # as several cameras have it, against the standard
        ("--frame", b"----frame"),
        ("frame", b"frame"),
        ("", b"--"),
    ],
)
def test_cameras_disagree_on_the_dashes(boundary: str, line: bytes) -> None:
    stream = b"".join(part(frame, line) for frame in FRAMES)
    assert list(read_parts(io.BytesIO(stream), boundary)) == FRAMES


def test_a_part_may_come_without_its_length() -> None:
    parts = [b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + frame + b"\r\n" for frame in FRAMES]
    stream = b"preamble\r\n" + b"".join(parts) + b"--frame--\r\n"
    assert list(read_parts(io.BytesIO(stream), "frame")) == FRAMES


def test_a_frame_of_known_length_does_not_wait_for_the_next() -> None:
    class Camera(io.BytesIO):
        def readline(self, limit: int | None = -1, /) -> bytes:
            line = super().readline(limit)
            assert line, "a camera that shows nothing new would have blocked here"
            return line

    stream = read_parts(Camera(part(FRAMES[0]).removesuffix(b"\r\n")), "frame")
    assert next(stream) == FRAMES[0]


@pytest.mark.parametrize("with_length", [True, False])
def test_a_frame_that_is_cut_off_is_left_out(with_length: bool) -> None:
    whole = part(FRAMES[0]) if with_length else b"--frame\r\n\r\n" + FRAMES[0]
    assert list(read_parts(io.BytesIO(whole[:-50]), "frame")) == []


def test_a_frame_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjpeg, "MAX_FRAME_BYTES", 1000)
    for stream in (b"--frame\r\nContent-Length: 1001\r\n\r\n", b"--frame\r\n\r\n" + b"\n" * 2000):
        with pytest.raises(ValueError, match="more than 1,000 bytes"):
            list(read_parts(io.BytesIO(stream), "frame"))


def refused(address: str) -> str:
    """The message about an address; it names it."""
    with pytest.raises(CameraError) as error:
        list(MjpegStream(address).frames())
    message = str(error.value)
    assert message.startswith(address.replace("me:secret@", ""))
    assert "\n" not in message
    return message


def test_a_page_is_no_stream() -> None:
    with serving(lambda handler: begin(handler, "text/html")) as address:
        assert "answers with text/html, not with an MJPEG stream" in refused(address)


def test_a_missing_page_says_so() -> None:
    with serving(lambda handler: handler.send_error(404)) as address:
        assert "HTTP Error 404: Not Found; check the address" in refused(address)


def test_nobody_there_says_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "Connection refused" in refused(f"http://127.0.0.1:{port}/")


def test_a_silent_camera_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjpeg, "SILENCE_S", 0.2)

    def respond(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        handler.wfile.write(part(FRAMES[0]))
        handler.rfile.read(1)  # until the client leaves

    with serving(respond) as address:
        frames: Iterator[object] = MjpegStream(address).frames()
        assert next(frames) == FRAMES[0]
        with pytest.raises(CameraError, match=r"stream.mjpg broke off: timed out"):
            next(frames)


def test_a_login_is_sent_and_not_shown() -> None:
    seen = []

    def respond(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers["Authorization"])
        begin(handler, MULTIPART)
        handler.wfile.write(part(FRAMES[0]))

    with serving(respond) as address:
        camera = MjpegStream(address.replace("http://", "http://me:s%40cret@"))
        assert list(camera.frames()) == FRAMES[:1]
        assert camera.name == address
    assert seen == ["Basic " + base64.b64encode(b"me:s@cret").decode()]


def test_a_refused_login_does_not_show_it() -> None:
    with serving(lambda handler: handler.send_error(401)) as address:
        message = refused(address.replace("http://", "http://me:secret@"))
    assert "401" in message
    assert "secret" not in message
