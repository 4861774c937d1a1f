"""Starts an installed command, sends it a signal after a while, and looks at what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_runtime.artifact import open_artifact
from edge_runtime.hashing import file_sha256

MARK = "IRV2_TEST_RUN"
LONGEST = 300


@dataclass(frozen=True)
class Command:
    """An installed command, its arguments, and the environment it gets beside our own."""

    name: str
    arguments: tuple[object, ...]
    environment: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    def plus(self, *arguments: object) -> Command:
        """With more arguments."""
        return replace(self, arguments=(*self.arguments, *arguments))


@dataclass(frozen=True)
class Run:
    """A run that has ended: exit code (minus the signal that killed it), what it said, how long it took, where."""

    code: int
    out: str
    err: str
    seconds: float
    folder: Path


def start(command: Command, mark: str) -> subprocess.Popen[str]:
    """In a session of its own, so that a signal to its group is what Ctrl-C in its terminal would be."""
    script = Path(sys.executable).with_name(command.name)
    return subprocess.Popen(
        [script, *(os.fsencode(str(argument)) for argument in command.arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        env={**os.environ, "COLUMNS": "160", MARK: mark, **command.environment},
        cwd=command.cwd,
        start_new_session=True,
    )


def finish(command: Command, folder: Path) -> Run:
    """Run it to its end."""
    return interrupted(command, folder, None, 0)


def interrupted(command: Command, folder: Path, number: signal.Signals | None, after: float) -> Run:
    """Run it; send it a signal after so many seconds, if it still runs."""
    mark = uuid.uuid4().hex
    started = time.monotonic()
    with start(command, mark) as process:
        try:
            out, err = process.communicate(timeout=after if number is not None else LONGEST)
        except subprocess.TimeoutExpired:
            if number == signal.SIGINT:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number or signal.SIGKILL)
            out, err = process.communicate(timeout=LONGEST)
    seconds = time.monotonic() - started
    assert gone(mark), "a child lives on without its parent"
    return Run(process.returncode, out, err, seconds, folder)


def gone(mark: str) -> bool:
    """Whether no process of a run is left, or will be in a moment."""
    for _ in range(100):
        if not _living(mark):
            return True
        time.sleep(0.05)
    return False


def _living(mark: str) -> list[int]:
    wanted, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return found


def hidden(folder: Path) -> list[str]:
    """Temporary files and folders."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def check_whole(folder: Path) -> None:
    """Every file under a final name opens, its checksums hold, and a report belongs to its artifact."""
    for path in folder.iterdir():
        if path.name.endswith(".tflite"):
            open_artifact(path)
        elif path.name.endswith(".report.json"):
            artifact = path.with_name(path.name.removesuffix(".report.json"))
            assert json.loads(path.read_text("utf-8"))["artifact"]["sha256"] == file_sha256(artifact)
        elif path.name.endswith(".html"):
            assert path.read_text("utf-8").rstrip().endswith("</html>")


def check_ending(run: Run, number: signal.Signals) -> None:
    """One line and the code of the signal; or none of ours, where Python had not begun or all was done."""
    if run.code in (0, -number):
        return
    assert number != signal.SIGKILL
    assert run.code == 128 + number, run.err
    assert run.err.splitlines()[-1].endswith(": interrupted"), run.err
    assert "Traceback" not in run.err, run.err
