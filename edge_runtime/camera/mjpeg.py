"""MJPEG over HTTP: an answer without end of many parts, each a JPEG file (multipart/x-mixed-replace)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from edge_runtime.camera.expectations import SILENCE_S
from edge_runtime.errors import CameraError, first_line
from edge_runtime.preprocess import ImageSource

MULTIPART = "multipart/x-mixed-replace"
MAX_FRAME_BYTES = 32 * 2**20
MAX_LINE_BYTES = 2**16
MAX_HEADER_LINES = 100


class ByteStream(Protocol):
    """What the parser asks of an HTTP response."""

    def read(self, amount: int, /) -> bytes:
        """Return this many bytes, or fewer at the end."""

    def readline(self, limit: int, /) -> bytes:
        """Return a line with its end, or as much of it as the limit allows; nothing at the end."""


class MjpegStream:
    """The stream of an address, which may have the form http://USER:PASSWORD@HOST/PATH."""

    def __init__(self, text: str) -> None:
        parts = urlsplit(text)
        self._login = parts.netloc.rpartition("@")[0]
        self.name = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def frames(self) -> Iterator[ImageSource]:
        """Yield JPEG files as bytes; see `Camera.frames`."""
        with self._opened() as response:
            found = response.headers.get_content_type()
            if found != MULTIPART:
                raise CameraError(f"{self.name} answers with {found}, not with an MJPEG stream ({MULTIPART})")
            try:
                yield from read_parts(response, response.headers.get_boundary(""))
            except _failures() as error:
                raise CameraError(f"{self.name} broke off: {first_line(error)}") from error

    def _opened(self) -> Any:
        import urllib.error
        import urllib.request  # heavy for a small device, and of no use to other cameras

        request = urllib.request.Request(self.name)
        if self._login:
            code = base64.b64encode(unquote(self._login).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {code}")  # for this host, for no other
        try:
            return urllib.request.urlopen(request, timeout=SILENCE_S)
        except _failures() as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            reason = error.reason if type(error) is urllib.error.URLError else error  # without its brackets
            raise CameraError(f"{self.name} cannot be opened: {reason}; check the address") from error


def read_parts(stream: ByteStream, boundary: str) -> Iterator[bytes]:
    """Yield the bodies of a multipart stream; one that the stream's end cuts off is left out.

    Cameras disagree on the dashes around the boundary, and not all of them send a Content-Length.

    Raises:
        ValueError: a part is too large.
    """
    name = boundary.strip("-").encode()
    line = b"\n"
    while line:
        if not _is_boundary(line, name):
            line = stream.readline(MAX_LINE_BYTES)
            continue
        length = _content_length(stream)
        if length is None:
            body, line = _read_to_boundary(stream, name)
            complete = line != b""
        else:
            body, line = stream.read(length), b"\n"
            complete = len(body) == length
        if not complete:
            return
        yield body


def _is_boundary(line: bytes, name: bytes) -> bool:
    return line.strip().strip(b"-") == name and (name != b"" or line.startswith(b"--"))


def _content_length(stream: ByteStream) -> int | None:
    """Read the headers of a part, and return what they say of its length."""
    length = None
    for _ in range(MAX_HEADER_LINES):
        header, _, value = stream.readline(MAX_LINE_BYTES).partition(b":")
        if not header.strip():
            break
        if header.strip().lower() == b"content-length" and value.strip().isdigit():
            length = int(value)
    _check_size(length or 0)
    return length


def _read_to_boundary(stream: ByteStream, name: bytes) -> tuple[bytes, bytes]:
    """Return a body without the line end behind it, and the line of the next boundary; b"" at the stream's end."""
    lines, size = [], 0
    while (line := stream.readline(MAX_LINE_BYTES)) and not _is_boundary(line, name):
        lines.append(line)
        size += len(line)
        _check_size(size)
    return b"".join(lines).removesuffix(b"\n").removesuffix(b"\r"), line


def _failures() -> tuple[type[Exception], ...]:
    """Return what a connection may raise; its time-outs, and the errors of urllib, are OSErrors."""
    from http.client import HTTPException  # heavy, as urllib.request is

    return OSError, ValueError, HTTPException


def _check_size(size: int) -> None:
    if size > MAX_FRAME_BYTES:
        raise ValueError(f"a frame has more than {MAX_FRAME_BYTES:,} bytes")
