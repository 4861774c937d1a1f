"""Lowering in a child process: what it is told, what it tells, and what is said when it dies."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from convert.errors import ImageSetError, LoweringError, MissingExtraError, SourceError
from convert.keras_models.sources import ModelSource
from convert.lowering.lower import LoweredModel, LoweringRequest, lower
from convert.system.progress import Silent
from convert.tflite.graph import TfliteGraph
from edge_runtime import EdgeError, ImageError, InputSpec
from edge_runtime.hashing import file_sha256
from tests.conftest import SIZE

SPEC = InputSpec(8, 9, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
LOWERED = LoweredModel(b"TFL3", "34cd", "tiny", ("a", "b"), "0", SPEC, 2, 120.0, {"keras": "3"})
CONNECT = """
import os, signal, sys, time
from multiprocessing.connection import Connection
from convert.errors import *
from convert.lowering.lower import LoweredModel
from edge_runtime import ImageError, InputSpec
SPEC = InputSpec(8, 9, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
parent = Connection(int(sys.argv[1]))
"""


@dataclass
class Stages(Silent):
    """Keeps the names of stages."""

    names: list[str] = field(default_factory=list)

    def stage(self, name: str) -> None:
        self.names.append(name)


class Interrupted(Silent):
    """Is interrupted at the first stage."""

    def stage(self, name: str) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def request_of(tmp_path: Path) -> LoweringRequest:
    return LoweringRequest(ModelSource("mine.keras"), "tf", (Path("a.png"),), tmp_path)


def use_worker(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a Python script be the worker; it has a connection to its `parent`."""
    (folder / "worker.py").write_text(CONNECT + script)
    command = shlex.join([sys.executable, str(folder / "worker.py")])
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec {command} "$4"\n')
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def refused(request: LoweringRequest) -> EdgeError:
    with pytest.raises(EdgeError) as caught:
        lower(request, Silent())
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "source",
    [
        ModelSource("imagenet", input_size=139),
        ModelSource("some where/mine.keras"),
        ModelSource(weights=Path("käfer.weights.h5"), classes=7, input_size=100),
    ],
)
def test_the_worker_is_given_the_request(source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it was, in the one thing that it can answer: the architecture."""
    images = (Path("a.png"), Path("b/猫.jpg"), Path(os.fsdecode(b"\xff.png")))
    request = LoweringRequest(source, "torch", images, tmp_path)
    answer = "LoweredModel(b'', '', repr(parent.recv()), None, '0', None, 2, 120.0, {})"
    script = f"parent.send({answer}); parent.send_bytes(b'')"
    use_worker(script, tmp_path, monkeypatch)
    assert lower(request, Silent()).architecture == repr(request)


def test_stages_and_the_result_are_passed_on(
    request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = "LoweredModel(b'', '34cd', 'tiny', ('a', 'b'), '0', SPEC, 2, 120.0, {'keras': '3'})"
    chatter = "print('chatter', flush=True); os.system('echo more; echo chatter >&2')"
    sent = f"parent.send('one'); parent.send('two'); parent.send({result}); parent.send_bytes(b'TFL3')"
    use_worker(f"parent.recv(); {chatter}; {sent}", tmp_path, monkeypatch)
    stages = Stages()
    assert lower(request_of, stages) == LOWERED
    assert stages.names == ["one", "two"]
    assert (tmp_path / "lowering.log").read_text() == "chatter\nmore\nchatter\n"


@pytest.mark.parametrize("kind", [SourceError, LoweringError, ImageSetError, MissingExtraError, ImageError])
def test_what_the_worker_refuses_is_refused_as_that(
    kind: type[EdgeError], request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = f"parent.send({kind.__name__}('mine.keras is no model'))"
    use_worker(f"parent.recv(); print('details', file=sys.stderr, flush=True); {answer}", tmp_path, monkeypatch)
    error = refused(request_of)
    assert type(error) is kind
    assert str(error) == "mine.keras is no model"
    assert error.__notes__ == ["details"], "what --debug shows"


WITHOUT_BYTES = "LoweredModel(b'', '34cd', 'tiny', None, '0', SPEC, 2, 120.0, {})"
WORDS = "os.write(2, b'first\\nAborted: last words\\n\\n'); "


@pytest.mark.parametrize(
    ("script", "end"),
    [
        (f"parent.recv(); {WORDS} os._exit(7)", "exit code 7"),
        (f"parent.recv(); {WORDS} os.kill(os.getpid(), 9)", "killed, as happens when memory runs out"),
        (f"{WORDS} os._exit(3)", "exit code 3"),
        (f"parent.recv(); parent.send('x'); {WORDS}", "exit code 0"),
        (f"parent.recv(); os.write(parent.fileno(), b'\\0\\0\\1\\0half'); {WORDS} os._exit(1)", "exit code 1"),
        (f"parent.recv(); parent.send({WITHOUT_BYTES}); {WORDS} os._exit(1)", "exit code 1"),
    ],
    ids=["dies", "is killed", "never reads", "forgets its result", "dies in the middle of a message", "owes the bytes"],
)
def test_the_last_words_of_a_worker_that_dies_are_told(
    script: str, end: str, request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_worker(script, tmp_path, monkeypatch)
    error = refused(request_of)
    assert isinstance(error, LoweringError)
    assert f"the lowering of mine ended unexpectedly ({end}): Aborted: last words" in str(error)
    assert error.__notes__[0].endswith("Aborted: last words")


def test_a_worker_that_dies_without_a_word(
    request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_worker("sys.exit(1)", tmp_path, monkeypatch)
    assert "it printed nothing" in str(refused(request_of))


def test_a_request_larger_than_a_socket_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tuple(Path("x" * 100 + str(i)) for i in range(5000))
    use_worker("sys.exit('No module named convert')", tmp_path, monkeypatch)
    request = LoweringRequest(ModelSource("mine.keras"), "tf", images, tmp_path)
    assert "No module named convert" in str(refused(request))


def test_no_worker_is_left_behind_by_an_interrupt(
    request_of: LoweringRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    script = f"parent.recv(); open({str(pid)!r}, 'w').write(str(os.getpid())); parent.send('x'); time.sleep(60)"
    use_worker(script, tmp_path, monkeypatch)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        lower(request_of, Interrupted())
    assert time.monotonic() - started < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


SCRIPT = """
from pathlib import Path
from convert.keras_models.sources import ModelSource
from convert.lowering.lower import LoweringRequest, lower

class Stopped(Exception): pass

class Progress:
    def stage(self, name):
        print(name)
        raise Stopped

print("once")
try:
    lower(LoweringRequest(ModelSource("mine.keras"), "tf", (), Path("scratch")), Progress())
except Stopped:
    print(Path("scratch/lowering.log").read_text())
"""
"""As a user would write it: with no `if __name__ == "__main__"`."""


@pytest.mark.parametrize("way", ["script", "-c", "standard input"])
def test_it_works_from_any_program_in_any_folder(way: str, tmp_path: Path) -> None:
    """The main module does not run again, and modules of the user's folder are not taken for those of ours."""
    script = tmp_path / "elsewhere" / "convert_mine.py"
    for folder in ("scratch", "elsewhere"):
        (tmp_path / folder).mkdir()
    script.write_text(SCRIPT)
    for name in ("numpy", "pickle", "socket", "convert", "tensorflow"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user')")
    arguments = {"script": [str(script)], "-c": ["-P", "-c", SCRIPT], "standard input": ["-P", "-"]}[way]
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=tmp_path, input=SCRIPT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["once", "loading TensorFlow", ""]


def test_a_real_worker_lowers_a_network(small_model: Path, validation_folder: Path, tmp_path: Path) -> None:
    images = tuple(sorted(validation_folder.glob("*/000.png")))
    stages = Stages()
    lowered = lower(LoweringRequest(ModelSource(str(small_model)), "tf", images, tmp_path), stages)
    assert (lowered.spec.height, lowered.spec.width, lowered.classes, lowered.labels) == (SIZE, SIZE, 3, None)
    assert lowered.keras_sqnr_db >= 100
    assert lowered.weights_sha256 == file_sha256(small_model)
    assert set(lowered.versions) == {"tensorflow", "keras"}
    assert stages.names[0] == "loading TensorFlow"
    assert len(stages.names) == len(set(stages.names)) == 4
    graph = TfliteGraph(lowered.model)
    inputs, outputs = graph.signatures()["serving_default"]
    assert (list(inputs), list(outputs)) == (["image"], ["probabilities"])
    assert graph.shape(graph.inputs[0]) == (1, SIZE, SIZE, 3)
    assert not [operator.name for operator in graph.operators if operator.name in ("MUL", "SUB", "RSQRT")], "folded"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lowering.log"]


def test_a_real_worker_refuses_a_damaged_model(validation_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.keras"
    path.write_bytes(b"no archive")
    images = tuple(validation_folder.glob("*/000.png"))
    error = refused(LoweringRequest(ModelSource(str(path)), "tf", images, tmp_path))
    assert isinstance(error, SourceError)
    assert "broken.keras" in str(error)


def test_the_parent_never_imports_tensorflow() -> None:
    code = "import sys, convert.lowering.lower; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
