"""`irv2-predict --camera` answers the newest frame, whatever comes faster, and does not grow."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from edge_runtime import Classifier
from edge_runtime.camera import capture
from edge_runtime.camera.capture import newest_frames
from edge_runtime.camera.sources import find_camera
from edge_runtime.camera.watch import Watcher
from edge_runtime.classifier import TopK
from tests.edge_runtime.cameras import (
    array,
    begin,
    colour_of,
    jpeg,
    part,
    serving,
    watching,
)
from tests.edge_runtime.commands import environment
from tests.edge_runtime.conftest import COLOURS
from tests.edge_runtime.tiny_model import LABELS

FRAMES = 1000


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
