"""`--on-change CMD`: run when the label changes, with label and probability in its environment."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from edge_runtime.camera import on_change
from edge_runtime.camera.on_change import OnChange, command
from tests.edge_runtime.cameras import begin, jpeg, part, serving, watching


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def script(path: Path, body: str) -> str:
    """Write a program for a shell, and return its path."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


class Changing:
    """A camera whose colour the test sets."""

    colour = "red"

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        while True:
            handler.wfile.write(part(jpeg(self.colour)))
            threading.Event().wait(0.01)


def test_a_change_runs_the_command_once(artifact_path: Path, tmp_path: Path) -> None:
    log, camera = tmp_path / "log", Changing()
    program = script(tmp_path / "program", f'echo "$1 $IRV2_LABEL $IRV2_PROBABILITY" >> {log}')
    with (
        serving(camera) as address,
        watching(artifact_path, "--camera", address, "--json", "--on-change", f"{program} 'a  $HOME;b'") as running,
    ):
        running.row()
        wait_for(log.exists)
        for _ in range(20):
            running.row()
        camera.colour = "green"
        while running.row()["predictions"][0]["label"] != "green":
            pass
        wait_for(lambda: log.read_text().count("\n") == 2)
        assert running.stop() == (130, "")
    first, second = log.read_text().splitlines()
    assert first.startswith("a  $HOME;b red 0."), "no shell looks at the words"
    assert second.startswith("a  $HOME;b green 0.")


def test_no_label_is_a_state_too(artifact_path: Path, tmp_path: Path) -> None:
    log, camera = tmp_path / "log", Changing()
    camera.colour = "blue"  # at 68 %; green has 63
    program = script(tmp_path / "program", f'echo "[$IRV2_LABEL]" >> {log}')
    options = ("--min-probability", "0.66", "--on-change", program)
    with serving(camera) as address, watching(artifact_path, "--camera", address, "--json", *options) as running:
        assert running.row()["predictions"][0]["label"] == "blue"
        wait_for(log.exists)
        camera.colour = "green"
        while running.row()["predictions"]:
            pass
        wait_for(lambda: log.read_text().count("\n") == 2)
        running.stop()
    assert log.read_text() == "[blue]\n[]\n"


def test_a_command_that_fails_or_talks_is_on_stderr_and_frames_go_on(artifact_path: Path, tmp_path: Path) -> None:
    program = script(tmp_path / "program", "echo out of paper; exit 3")
    with (
        serving(Changing()) as address,
        watching(artifact_path, "--camera", address, "--json", "--on-change", program) as running,
    ):
        assert [running.row()["error"] for _ in range(10)] == [None] * 10
        assert running.message() == "out of paper\n"
        assert running.message() == (f"irv2-predict: warning: --on-change {program} ended with exit code 3 for 'red'\n")
        running.stop()


def test_a_command_that_hangs_holds_up_nothing_and_ends_with_us(artifact_path: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = script(tmp_path / "program", f"echo $$ > {pid}.part; mv {pid}.part {pid}; exec sleep 1000")
    with (
        serving(Changing()) as address,
        watching(artifact_path, "--camera", address, "--json", "--on-change", program) as running,
    ):
        wait_for(pid.exists)
        for _ in range(50):
            running.row()
        assert running.stop() == (130, "")
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_of_changes_that_come_too_fast_the_last_is_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    words = [script(tmp_path / "program", f"echo $IRV2_LABEL >> {log}; until test -e {go}; do sleep 0.05; done")]
    running = OnChange(words, print)
    running.run("first", "1")
    wait_for(log.exists)
    for number in range(1000):
        running.run(str(number), "1")
    go.touch()
    wait_for(lambda: log.read_text().count("\n") == 2)
    running.close()
    assert log.read_text() == "first\n999\n"


def test_a_command_that_ignores_the_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_change, "FINISHING_S", 0.2)
    started, notes = tmp_path / "started", []
    program = script(tmp_path / "program", f"trap '' TERM; touch {started}; while :; do sleep 0.05; done")
    running = OnChange([program], notes.append)
    running.run("red", "1")
    wait_for(started.exists)
    running.close()
    assert running._process is not None
    assert running._process.wait(10) == -9


def test_a_program_that_goes_away_is_said(tmp_path: Path) -> None:
    notes: list[str] = []
    running = OnChange([str(tmp_path / "gone")], notes.append)
    running.run("red", "1")
    wait_for(lambda: notes)
    running.close()
    assert "gone cannot be run: [Errno 2]" in notes[0]


@pytest.mark.parametrize("text", ["", "   ", "'", "no-such-program x"])
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"split into words|there is no program"):
        command(text)


def test_words_are_split_as_a_shell_does() -> None:
    assert command("sh -c 'echo \"$IRV2_LABEL\" | tee x'") == ["sh", "-c", 'echo "$IRV2_LABEL" | tee x']
