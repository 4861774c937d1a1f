"""`irv2-predict --camera`, as its user sees it: what it prints, and how it ends."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.camera.watch import Smoothing
from tests.edge_runtime.cameras import (
    begin,
    colour_of,
    colours_without_end,
    jpeg,
    part,
    serving,
    watching,
)
from tests.edge_runtime.commands import command_line, environment, predict
from tests.edge_runtime.conftest import COLOURS
from tests.edge_runtime.tiny_model import LABELS, SPEC, expected_probabilities, tiny_artifact


@pytest.fixture
def stream() -> Iterator[str]:
    """The address of a camera that shows red, green and blue in turn."""
    with serving(colours_without_end) as address:
        yield address


def one_colour(colour: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        while True:
            handler.wfile.write(part(jpeg(colour)))
            threading.Event().wait(0.01)

    return respond


# What it prints


def test_json_is_an_object_a_frame(artifact_path: Path, stream: str) -> None:
    before = time.time()
    with watching(artifact_path, "--camera", stream, "--json", "--top-k", 2) as running:
        rows = [running.row() for _ in range(20)]
        assert running.stop() == (130, "")
    for count, row in enumerate(rows, 1):
        assert row["image"] == stream
        assert row["predictions"][0]["label"] == colour_of(row["frame"])
        assert len(row["predictions"]) == 2
        assert row["dropped"] == row["frame"] + 1 - count
        assert before < row["captured_at"] <= row["answered_at"] < time.time()
        assert row["error"] is None
        assert {"head", "receipt", "timings_ms"} <= set(row)
    assert rows[0]["fps"] is None
    assert all(row["fps"] > 0 for row in rows[1:])


def test_text_is_a_line_a_frame_where_it_is_no_terminal(artifact_path: Path) -> None:
    with serving(one_colour("green")) as address, watching(artifact_path, "--camera", address) as running:
        assert " on cpu, " in running.line()
        expected = expected_probabilities(np.full((8, 8, 3), COLOURS["green"], np.uint8))[1]
        first, second = running.line().split(), running.line().split()
        assert running.stop() == (130, "")
    assert (first[0], *first[2:]) == ("green", "-", "fps")
    assert float(first[1].rstrip("%")) == pytest.approx(100 * expected, abs=0.5)
    assert float(second[2]) > 0


def test_a_terminal_has_one_line_that_updates(artifact_path: Path, stream: str) -> None:
    master, slave = pty.openpty()
    line = command_line("edge_runtime", artifact_path, "--camera", stream)
    with subprocess.Popen(line, stdout=slave, stderr=slave, env=environment()) as process:
        os.close(slave)
        text = b""
        while text.count(b"fps") < 5:
            text += os.read(master, 1000)
        process.terminate()
    os.close(master)
    receipt, *rest = text.split(b"\r\n")
    assert b" on cpu, " in receipt
    assert len(rest) == 1, "one line"
    shown = rest[0].split(b"\r\x1b[K")[1:-1]
    assert {each.split()[0].decode() for each in shown} <= set(LABELS)


def test_the_least_probability_and_smoothing(artifact_path: Path, stream: str) -> None:
    """Over many frames in turn the three colours are about as probable: none of them reaches 60 %."""
    options = ("--camera", stream, "--smooth", 99, "--min-probability", "0.6")
    with watching(artifact_path, *options) as running:
        lines = [running.line() for _ in range(40)]
        running.stop()
    assert lines[-1].startswith("no label reaches 60%; nearest: ")


def test_smoothing_is_the_mean_of_the_last() -> None:
    smoothing = Smoothing(2)
    rows = np.random.default_rng(1).random((4, 3)).astype(np.float32)
    means = [smoothing(row) for row in rows]
    np.testing.assert_array_equal(means[0], rows[0])
    np.testing.assert_allclose(means[3], (rows[2].astype(np.float64) + rows[3]) / 2, rtol=1e-6)


def test_a_folder_names_the_file_of_each_frame(artifact_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with watching(artifact_path, "--camera", folder, "--json") as running:
        stop = threading.Event()

        def fill() -> None:
            for number in range(1000):
                (folder / f"{number}.part").write_bytes(jpeg(colour_of(number)))
                (folder / f"{number}.part").rename(folder / f"{number}.jpg")
                if stop.wait(0.1):
                    return

        filling = threading.Thread(target=fill)
        filling.start()
        rows = [running.row() for _ in range(3)]
        stop.set()
        filling.join()
        assert running.stop() == (130, "")
    for row in rows:
        assert row["predictions"][0]["label"] == colour_of(int(Path(row["image"]).stem))


# What goes wrong


def test_a_frame_that_cannot_be_decoded_is_an_error_of_that_frame(artifact_path: Path) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        while True:
            for frame in (b"no picture", jpeg("red")):
                handler.wfile.write(part(frame))
                threading.Event().wait(0.05)

    with serving(respond) as address:
        with watching(artifact_path, "--camera", address, "--json") as running:
            rows = [running.row() for _ in range(20)]
            running.stop()
        with watching(artifact_path, "--camera", address) as running:
            message = running.message()
            running.stop()
    errors = [row["error"] for row in rows]
    assert None in errors
    assert any(error and "is not a readable image" in error for error in errors)
    assert message.startswith("irv2-predict: warning: frame ")


def test_a_stream_that_breaks_off_is_taken_up_again(artifact_path: Path) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        for _ in range(3):
            handler.wfile.write(part(jpeg("blue")))

    with serving(respond) as address, watching(artifact_path, "--camera", address, "--json") as running:
        while running.row()["frame"] < 3:
            pass
        assert running.message() == f"irv2-predict: warning: {address} ended; connecting again every second\n"
        assert running.message() == f"irv2-predict: note: {address} is back\n"
        assert running.stop()[0] == 130


@pytest.mark.parametrize("source", ["rtsp://host/live", "nothing here"])
def test_a_source_that_is_none_is_one_line(artifact_path: Path, source: str) -> None:
    done = predict(artifact_path, "--camera", source)
    assert done.stderr.startswith(f"irv2-predict: error: camera {source!r} is none that can be read: pass picamera2")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)


def test_a_camera_that_cannot_be_opened_is_one_line(artifact_path: Path) -> None:
    done = predict(artifact_path, "--camera", "http://127.0.0.1:9/stream.mjpg", "--json")
    assert done.stderr.startswith("irv2-predict: error: http://127.0.0.1:9/stream.mjpg cannot be opened: ")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "pass an IMAGE, or --camera SOURCE"),
        (["a.jpg", "--camera", "picamera2"], "'a.jpg' and --camera: pass images or a camera"),
        (["a.jpg", "--smooth", "3"], "--smooth is for --camera"),
        (["a.jpg", "--on-change", "true"], "--on-change is for --camera"),
        (["--camera", "picamera2", "--record", "x.json"], "--record is for images, not for --camera"),
        (["--camera", "picamera2", "--smooth", "0"], "'0' is not a whole number of at least 1"),
        (["--camera", "picamera2", "--on-change", "'"], "cannot be split into words: No closing quotation"),
        (["--camera", "picamera2", "--on-change", "no-such-program x"], "there is no program 'no-such-program'"),
    ],
)
def test_options_that_do_not_go_together(artifact_path: Path, arguments: list[str], message: str) -> None:
    done = predict(artifact_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: irv2-predict")
    assert message in done.stderr.splitlines()[-1]


def test_labels_that_are_independent_are_all_shown(tmp_path: Path) -> None:
    artifact = tiny_artifact(head="independent", spec=replace(SPEC)).write(tmp_path / "tiny.tflite")
    with serving(one_colour("green")) as address, watching(artifact, "--camera", address, "--json") as running:
        row = running.row()
        running.stop()
    assert row["head"] == "independent"
    assert [each["label"] for each in row["predictions"]] == ["green"]
