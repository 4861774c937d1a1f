"""V4L2 devices: webcams and capture cards, as Linux offers them under /dev/video*.

Buffers of the driver are mapped into memory and handed back and forth: the streaming I/O of the kernel's documentation
(userspace-api/media/v4l/mmap.html). The structures are those of videodev2, Raspberry Pi's bindings of that header.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import mmap
import os
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from edge_runtime.camera.expectations import SILENCE_S, SIZE
from edge_runtime.errors import CameraError
from edge_runtime.preprocess import ImageSource

BUFFERS = 4

ADVICE = {
    errno.ENOENT: "v4l2-ctl --list-devices lists those there are",
    errno.EACCES: "sudo usermod -aG video $USER, and log in again",
    errno.EBUSY: "another program uses it",
}
"""What to do about a device that cannot be opened or read; for other errors: look whether it is still plugged in."""


@dataclass(frozen=True)
class Form:
    """What the driver said of its frames: size in pixels, bytes from row to row, and whether luma covers 16..235."""

    width: int
    height: int
    row_bytes: int
    limited: bool


def from_jpeg(frame: bytes, form: Form) -> ImageSource | None:
    """Return a JPEG file as it is; Pillow decodes those without Huffman tables, too, as many cameras send."""
    return frame or None


def from_yuyv(frame: bytes, form: Form) -> ImageSource | None:
    """Return RGB of bytes Y0 U Y1 V, by ITU-R BT.601, None if there are too few; pairs of pixels share their colour."""
    if len(frame) < form.row_bytes * form.height:
        return None
    rows = np.frombuffer(frame, np.uint8, form.row_bytes * form.height).reshape(form.height, form.row_bytes)
    pairs = rows[:, : 2 * form.width]
    planes = (pairs[:, ::2], pairs[:, 1::4].repeat(2, axis=1), pairs[:, 3::4].repeat(2, axis=1))
    bands = [Image.fromarray(np.ascontiguousarray(plane)) for plane in planes]
    if form.limited:
        bands = [band.point(table) for band, table in zip(bands, (FULL_LUMA, FULL_COLOUR, FULL_COLOUR), strict=True)]
    return Image.merge("YCbCr", bands).convert("RGB")


def _stretched(low: int, high: int, least: float, most: float) -> list[int]:
    """Return a table of 256 values that maps low..high to least..most."""
    scaled = (np.arange(256) - low) * ((most - least) / (high - low)) + least
    return [int(value) for value in np.clip(np.rint(scaled), 0, 255)]


FULL_LUMA = _stretched(16, 235, 0, 255)
FULL_COLOUR = _stretched(16, 240, 0.5, 255.5)

Decoder = Callable[[bytes, Form], ImageSource | None]
DECODERS: dict[str, Decoder] = {"MJPG": from_jpeg, "JPEG": from_jpeg, "YUYV": from_yuyv}
"""Pixel formats in order of preference: compressed, a camera needs a tenth of the bus, and has more frames to give."""


class V4l2Camera:
    """The device at a path."""

    def __init__(self, text: str) -> None:
        self.name = text

    def frames(self) -> Iterator[ImageSource]:
        """Yield JPEG files as bytes or pictures, of 640x480 pixels or what the driver has instead.

        See `Camera.frames`.
        """
        try:
            bindings = importlib.import_module("videodev2")
        except ImportError as error:
            raise CameraError(f"{self.name} needs videodev2: pip install videodev2") from error
        try:
            yield from self._opened(bindings)
        except OSError as error:
            advice = ADVICE.get(error.errno or 0, "is it still plugged in, and a camera?")
            raise CameraError(f"{self.name} cannot be read: {error.strerror or error}; {advice}") from error

    def _opened(self, bindings: Any) -> Iterator[ImageSource]:
        with ExitStack() as stack:
            descriptor = os.open(self.name, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            device = _Device(descriptor, self.name, bindings)
            device.check_captures()
            code, form = device.choose_format()
            buffers = [stack.enter_context(buffer) for buffer in device.map_buffers()]
            with device.streaming():
                while True:
                    picture = DECODERS[code](device.next_frame(buffers), form)
                    if picture is not None:
                        yield picture


class _Device:
    """The calls that a capture takes, in the order of the methods."""

    def __init__(self, descriptor: int, name: str, bindings: Any) -> None:
        self._descriptor, self._name, self._v4l2 = descriptor, name, bindings
        self._type = bindings.V4L2_BUF_TYPE_VIDEO_CAPTURE

    def check_captures(self) -> None:
        """Raise `CameraError` if this is one of the other devices that drivers make: of metadata, of codecs."""
        v4l2, found = self._v4l2, self._v4l2.v4l2_capability()
        self._call(v4l2.VIDIOC_QUERYCAP, found)
        has_own = found.capabilities & v4l2.V4L2_CAP_DEVICE_CAPS
        able = found.device_caps if has_own else found.capabilities
        if not (able & v4l2.V4L2_CAP_VIDEO_CAPTURE and able & v4l2.V4L2_CAP_STREAMING):
            raise CameraError(f"{self._name} captures no video: most cameras have several devices, take the first")

    def choose_format(self) -> tuple[str, Form]:
        """Ask for the format of `DECODERS` that comes first there, and return it, and what the driver made of it."""
        offered = list(self._formats())
        code = next((code for code in DECODERS if code in offered), None)
        if code is None:
            advice = "for Raspberry Pi's own cameras, --camera picamera2"
            raise CameraError(f"{self._name} has {', '.join(offered)}, none of {', '.join(DECODERS)}: {advice}")
        wanted = self._v4l2.v4l2_format()
        wanted.type = self._type
        pixels = wanted.fmt.pix
        pixels.width, pixels.height = SIZE
        pixels.pixelformat, pixels.field = int.from_bytes(code.encode(), "little"), self._v4l2.V4L2_FIELD_ANY
        self._call(self._v4l2.VIDIOC_S_FMT, wanted)
        if _text(pixels.pixelformat) != code:
            raise CameraError(f"{self._name} gives {_text(pixels.pixelformat)} in place of {code}: try another device")
        full = pixels.quantization == self._v4l2.V4L2_QUANTIZATION_FULL_RANGE
        return code, Form(pixels.width, pixels.height, pixels.bytesperline, limited=not full)

    def _formats(self) -> Iterator[str]:
        found = self._v4l2.v4l2_fmtdesc()
        found.type = self._type
        try:
            while True:
                self._call(self._v4l2.VIDIOC_ENUM_FMT, found)
                yield _text(found.pixelformat)
                found.index += 1
        except OSError as error:
            if error.errno != errno.EINVAL:  # which is how the list ends
                raise

    def map_buffers(self) -> list[mmap.mmap]:
        """Let the driver make buffers, and return them in its order."""
        wanted = self._v4l2.v4l2_requestbuffers()
        wanted.count, wanted.type, wanted.memory = BUFFERS, self._type, self._v4l2.V4L2_MEMORY_MMAP
        self._call(self._v4l2.VIDIOC_REQBUFS, wanted)
        buffers = []
        for index in range(wanted.count):
            found = self._buffer(index)
            self._call(self._v4l2.VIDIOC_QUERYBUF, found)
            buffers.append(mmap.mmap(self._descriptor, found.length, offset=found.m.offset))
            self._call(self._v4l2.VIDIOC_QBUF, found)
        return buffers

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Let the driver fill buffers for a while."""
        kind = self._type.to_bytes(4, "little")
        fcntl.ioctl(self._descriptor, self._v4l2.VIDIOC_STREAMON, kind)
        try:
            yield
        finally:
            fcntl.ioctl(self._descriptor, self._v4l2.VIDIOC_STREAMOFF, kind)

    def next_frame(self, buffers: list[mmap.mmap]) -> bytes:
        """Wait for a frame, copy it, and give its buffer back; return nothing for one that the driver calls damaged."""
        if not select.select([self._descriptor], [], [], SILENCE_S)[0]:
            raise TimeoutError(errno.ETIMEDOUT, f"no frame for {SILENCE_S:.0f} s")
        filled = self._buffer(0)
        self._call(self._v4l2.VIDIOC_DQBUF, filled)
        damaged = filled.flags & self._v4l2.V4L2_BUF_FLAG_ERROR
        frame = b"" if damaged else buffers[filled.index][: filled.bytesused]
        self._call(self._v4l2.VIDIOC_QBUF, filled)
        return frame

    def _buffer(self, index: int) -> Any:
        buffer = self._v4l2.v4l2_buffer()
        buffer.index, buffer.type, buffer.memory = index, self._type, self._v4l2.V4L2_MEMORY_MMAP
        return buffer

    def _call(self, request: int, structure: Any) -> None:
        fcntl.ioctl(self._descriptor, request, structure)


def _text(code: int) -> str:
    """Return the four characters of a pixel format."""
    return code.to_bytes(4, "little").decode("latin-1")
