"""`irv2-predict --camera`, as its user sees it: what it prints, how it ends, that it keeps up and does not grow."""

from __future__ import annotations

import os
import pty
import random
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import Classifier
from edge_runtime.camera import capture
from edge_runtime.camera.capture import newest_frames
from edge_runtime.camera.sources import find_camera
from edge_runtime.camera.watch import Smoothing, Watcher
from edge_runtime.classifier import TopK
from tests.edge_runtime.cameras import (
    array,
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

FRAMES = 1000


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


# That it keeps up


def from_server(script: Callable[[], Iterator[str]]) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with a frame for each colour of the script, and then hold the line."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        for colour in script():
            handler.wfile.write(part(jpeg(colour)))
        handler.rfile.read(1)

    return respond


class Gate:
    """Lets a camera give so many frames and no more, and knows how many were captured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._free = threading.Semaphore(0)
        self.given = self.captured = 0
        clock = types.SimpleNamespace(time=self._count, sleep=time.sleep)
        monkeypatch.setattr(capture, "time", clock)  # it is asked for the time of every frame

    def _count(self) -> float:
        self.captured += 1
        return time.time()

    def script(self) -> Iterator[str]:
        for number in range(FRAMES):
            self._free.acquire()
            yield colour_of(number)
        threading.Event().wait()

    def let(self, count: int) -> None:
        """Let this many frames come, and wait until they did."""
        self.given += count
        self._free.release(count)
        end = time.monotonic() + 30
        while self.captured < self.given:
            assert time.monotonic() < end
            time.sleep(0.0002)


def install_picamera2(monkeypatch: pytest.MonkeyPatch, script: Iterator[str]) -> None:
    class Picamera2:
        def __init__(self, _: int) -> None:
            """Open nothing."""

        def capture_array(self, _: str) -> object:
            return array(next(script))

        def __getattr__(self, _: str) -> object:
            return lambda **__: None

    Picamera2.configure = lambda *_: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=Picamera2))


@contextmanager
def gated(kind: str, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A camera that gives frames as the gate lets it."""
    if kind == "picamera2":
        install_picamera2(monkeypatch, gate.script())
        yield "picamera2"
    else:
        with serving(from_server(gate.script)) as address:
            yield address


@pytest.mark.parametrize("kind", ["mjpeg", "picamera2"])
def test_no_frame_is_answered_late_by_more_than_one(
    artifact_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Frames come in bursts while others are answered: whatever is answered next is the newest, or the one before.

    The one before, where the newest was captured and not yet put into the slot.
    """
    monkeypatch.setattr(capture, "CLOSING_S", 0.1)
    burst, gate, late, answered = random.Random(5), Gate(monkeypatch), [], []
    with gated(kind, gate, monkeypatch) as source, Classifier.open(artifact_path) as classifier:
        watcher = Watcher(classifier, source, TopK(LABELS, 1, None, None, None), 1)
        starting = threading.Timer(0.1, gate.let, [1])
        starting.start()
        with newest_frames(find_camera(source), print) as frames:
            for frame in frames:
                starting.join()
                late.append(gate.given - 1 - frame.number)
                answered.append(watcher.answer(frame))
                if frame.number == FRAMES - 1:
                    break
                if gate.given < FRAMES:
                    gate.let(min(burst.randint(1, 4), FRAMES - gate.given))
    assert len(late) > FRAMES / 4
    assert set(late) <= {0, 1}
    assert all(each.answer.predictions[0].label == colour_of(each.frame.number) for each in answered)
    assert answered[-1].dropped == FRAMES - len(answered) > FRAMES / 4


def resident_kilobytes(pid: int) -> int:
    """Memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


PICAMERA2 = """
import itertools, time
import numpy as np
COLOURS = {colours}
class Picamera2:
    def __init__(self, number): self.numbers = itertools.count()
    def create_video_configuration(self, main): return main
    def configure(self, _): pass
    def start(self): pass
    def close(self): pass
    def capture_array(self, _):
        number = next(self.numbers)
        time.sleep(0.003 if number < {frames} else 1000)
        return np.full((480, 640, 3), COLOURS[number % len(COLOURS)], np.uint8)
"""


@contextmanager
def a_thousand_frames(kind: str, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A camera in another process or thread that gives frames of its own accord; and environment variables."""
    if kind == "picamera2":
        text = PICAMERA2.format(colours=[COLOURS[label] for label in LABELS], frames=FRAMES)
        (folder / "picamera2.py").write_text(text)
        yield kind, {"PYTHONPATH": os.pathsep.join([str(folder), environment()["PYTHONPATH"]])}
        return

    def script() -> Iterator[str]:
        for number in range(FRAMES):
            time.sleep(0.003)
            yield colour_of(number)

    with serving(from_server(script)) as address:
        yield address, {}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="this system has no /proc")
@pytest.mark.parametrize("kind", ["mjpeg", "picamera2"])
def test_a_thousand_frames_in_the_command(artifact_path: Path, tmp_path: Path, kind: str) -> None:
    rows, memory = [], []
    with (
        a_thousand_frames(kind, tmp_path) as (source, variables),
        watching(artifact_path, "--camera", source, "--json", **variables) as running,
    ):
        while not rows or rows[-1]["frame"] < FRAMES - 1:
            rows.append(running.row())
            memory.append(resident_kilobytes(running.pid))
        assert running.stop() == (130, "")
    numbers = [row["frame"] for row in rows]
    assert numbers == sorted(set(numbers))
    assert all(row["predictions"][0]["label"] == colour_of(row["frame"]) for row in rows)
    assert rows[-1]["dropped"] == FRAMES - len(rows)
    warm = memory[len(memory) // 5]
    assert max(memory) - warm < 4096, "flat to 4 MB"
    print(f"{kind}: {len(rows)} answered, {warm} kB after a fifth, {memory[-1]} kB at the end")


def test_labels_that_are_independent_are_all_shown(tmp_path: Path) -> None:
    artifact = tiny_artifact(head="independent", spec=replace(SPEC)).write(tmp_path / "tiny.tflite")
    with serving(one_colour("green")) as address, watching(artifact, "--camera", address, "--json") as running:
        row = running.row()
        running.stop()
    assert row["head"] == "independent"
    assert [each["label"] for each in row["predictions"]] == ["green"]
