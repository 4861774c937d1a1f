"""Whatever a file does to the process that reads it, the command ends with one line and an exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convert.cli.sandbox import BYTES_A_BYTE, SPARE_BYTES, largest_file
from tests.conftest import Finished, run_command
from tests.edge_runtime.commands import environment
from tests.edge_runtime.tiny_model import tiny_artifact

CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")
PROGRAM = """
import os, signal, sys, time
import convert.cli.sandbox as limited
limited.SPARE_SECONDS = 1
def body():
    {body}
{before}
sys.exit(limited.run_limited("irv2-inspect", lambda: body, sys.argv[1:]))
"""
SIGNALLED = """
fork = os.fork
def signalled():
    child = fork()
    if child != 0:
        os.kill(os.getpid(), signal.SIGTERM)
    return child
os.fork = signalled
"""
"""Somebody stops the program right after it has forked."""


def start(body: str, before: str = "") -> subprocess.Popen[str]:
    """A program whose command does `body`."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body, before=before)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def run(body: str) -> Finished:
    with start(body) as process:
        out, err = process.communicate(timeout=60)
    return Finished(process.returncode, out, err)


@pytest.mark.parametrize("code", [0, 1, 3])
def test_what_the_command_prints_and_its_exit_code_come_through(code: int) -> None:
    assert run(f"print('seen'); sys.exit({code})") == Finished(code, "seen\n", "")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended the process that read it (SIGSEGV)"),
        ("os.abort()", "ended the process that read it (SIGABRT)"),
        ("while True: pass", "takes too long to read"),
        (f"bytearray({2 * SPARE_BYTES})", "needs more memory than such a file should"),
    ],
)
def test_a_file_that_ends_its_reader_is_one_line(body: str, complaint: str) -> None:
    done = run(body)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        f"irv2-inspect: error: the file {complaint}: it is damaged or made to do harm; "
        "get it again, from a source you trust"
    ]


def test_less_than_the_limit_is_given() -> None:
    assert run(f"print(len(bytearray({SPARE_BYTES // 2})))").out == f"{SPARE_BYTES // 2}\n"


def test_stopping_it_stops_both_and_blames_no_file() -> None:
    with start("print(os.getpid(), flush=True); time.sleep(60)") as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert not Path(f"/proc/{child}").exists()


def test_a_signal_that_comes_before_the_program_waits_is_not_lost() -> None:
    with start("time.sleep(60)", SIGNALLED) as process:
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_child_that_is_halted_and_goes_on_is_waited_for() -> None:
    with start("print(os.getpid(), flush=True); time.sleep(1)") as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        os.kill(child, signal.SIGSTOP)
        time.sleep(0.1)
        assert process.poll() is None
        os.kill(child, signal.SIGCONT)
        assert process.wait(timeout=30) == 0


def test_limits_grow_with_the_file(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(10))
    large.write_bytes(bytes(1000))
    assert largest_file(["--json", str(small), str(large), str(tmp_path)]) == 1000
    assert largest_file(["--help"]) == 0
    assert BYTES_A_BYTE >= 4  # weights of a byte are looked at as floats


@pytest.mark.skipif(not CHILDREN.exists(), reason="this kernel does not list a process's children")
def test_the_installed_command_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = tiny_artifact().write(tmp_path / "tiny.tflite")
    script = Path(sys.executable).with_name("irv2-inspect")
    with subprocess.Popen([script, path], stdout=subprocess.DEVNULL, env=environment()) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        seen: set[str] = set()
        while process.poll() is None and not seen:
            seen |= set(children.read_text().split()) if children.exists() else set()
            time.sleep(0.01)
        assert process.wait(timeout=60) == 0
    assert len(seen) == 1
    assert run_command("irv2-inspect", tmp_path / "missing.tflite").code == 1
