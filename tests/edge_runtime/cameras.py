"""Cameras without hardware: an MJPEG server, frames of one colour, and commands that run until they are stopped."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any

import numpy as np
from PIL import Image

from edge_runtime.preprocess import Pixels
from tests.edge_runtime.commands import command_line, environment
from tests.edge_runtime.conftest import COLOURS
from tests.edge_runtime.test_predict import heeding_ctrl_c
from tests.edge_runtime.tiny_model import LABELS

MULTIPART = "multipart/x-mixed-replace; boundary=frame"


def colour_of(number: int) -> str:
    """The label of the frame of this number: red, green, blue, red, ..."""
    return LABELS[number % len(LABELS)]


def array(colour: str, width: int = 40, height: int = 30) -> Pixels:
    """RGB pixels of one colour."""
    return np.full((height, width, 3), COLOURS[colour], np.uint8)


def jpeg(colour: str) -> bytes:
    """A JPEG file of one colour."""
    file = io.BytesIO()
    Image.fromarray(array(colour)).save(file, "JPEG", quality=95)
    return file.getvalue()


def part(body: bytes, boundary: bytes = b"--frame") -> bytes:
    """A part of a multipart stream, with the length of its body."""
    length = str(len(body)).encode()
    return boundary + b"\r\nContent-Type: image/jpeg\r\nContent-Length: " + length + b"\r\n\r\n" + body + b"\r\n"


Respond = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(respond: Respond, port: int = 0) -> Iterator[str]:
    """Run an HTTP server on this machine, and yield its address; `respond` writes the answer to a request."""

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True  # or small frames would come in bursts, most of them to be dropped

        def do_GET(self) -> None:
            try:
                respond(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/stream.mjpg"
        finally:
            server.shutdown()


def begin(handler: BaseHTTPRequestHandler, content_type: str = MULTIPART) -> None:
    """Send the head of an answer."""
    handler.send_response(200)
    handler.send_header("Content-Type", content_type)
    handler.end_headers()


def colours_without_end(handler: BaseHTTPRequestHandler, pause: float = 0.01) -> None:
    """Send red, green and blue frames until the client leaves."""
    begin(handler)
    wait, number = threading.Event(), 0
    while True:
        handler.wfile.write(part(jpeg(colour_of(number))))
        number += 1
        wait.wait(pause)


class Running:
    """A command that runs until it is stopped as by Ctrl-C."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process, self._out, self._err = process, process.stdout, process.stderr
        self.pid = process.pid

    def line(self) -> str:
        """The next line of its output."""
        return self._out.readline().decode()

    def row(self) -> dict[str, Any]:
        """The next line of its output, as JSON."""
        row: dict[str, Any] = json.loads(self._out.readline())
        return row

    def message(self) -> str:
        """The next line of its stderr."""
        return self._err.readline().decode()

    def stop(self) -> tuple[int, str]:
        """Press Ctrl-C; return the exit code, and what is left of stderr."""
        self._process.send_signal(signal.SIGINT)
        drain = threading.Thread(target=_read_all, args=(self._out,))
        drain.start()
        rest = self._err.read().decode()
        drain.join()
        return self._process.wait(timeout=30), rest


def _read_all(stream: IO[bytes]) -> None:
    stream.read()


@contextmanager
def watching(*arguments: object, **variables: str) -> Iterator[Running]:
    """Run `irv2-predict arguments` for as long as the block, with environment variables."""
    with heeding_ctrl_c():
        process = subprocess.Popen(
            command_line("edge_runtime", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment(), **variables},
        )
    with process:
        try:
            yield Running(process)
        finally:
            if process.poll() is None:
                process.kill()
