"""The script that keeps files on a device, as several runs at once start it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, cast

import pytest

from convert.devices.scripts import script

CONTENTS = {hashlib.sha256(content).hexdigest(): content for content in (bytes([n]) * 1000 for n in range(200))}


class Receiver:
    """A run of the script, to which a test is the host."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        command = [sys.executable, "-c", script("receive"), str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, content: bytes) -> None:
        """Send bytes at once."""
        to = cast(IO[bytes], self.process.stdin)
        to.write(content)
        to.flush()

    def announce(self, sha256: str) -> None:
        """Send the header of a file."""
        self.send(json.dumps({"sha256": sha256, "bytes": len(CONTENTS[sha256])}).encode() + b"\n")

    def answer(self) -> dict[str, Any]:
        """Read one line."""
        return dict(json.loads(cast(IO[bytes], self.process.stdout).readline()))

    def end(self) -> int:
        """Break the connection; return the exit status."""
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def receivers(tmp_path: Path) -> list[Receiver]:
    """Two runs that keep files in one folder."""
    return [Receiver(tmp_path) for _ in range(2)]


def test_two_runs_send_the_same_file_at_once(receivers: list[Receiver], tmp_path: Path) -> None:
    sha256, content = next(iter(CONTENTS.items()))
    for each in receivers:
        each.announce(sha256)
        assert each.answer() == {"have": 0}
        each.send(content[:300])
    for each in receivers:
        each.send(content[300:])
        assert each.answer() == {"stored": True}
        assert each.end() == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {sha256: content}


def test_two_runs_keep_pace_over_many_files(receivers: list[Receiver], tmp_path: Path) -> None:
    """One run often looks for a file in the moment in which the other stores it."""
    for sha256, content in CONTENTS.items():
        for each in receivers:
            each.announce(sha256)
        for each in receivers:
            have = each.answer()["have"]
            if have < len(content):
                each.send(content[have:])
        for each in receivers:
            each.announce(sha256)
        for each in receivers:
            answers = [each.answer()]
            if "stored" in answers[0]:
                answers.append(each.answer())
            assert answers[-1] == {"have": len(content)}
    assert [each.end() for each in receivers] == [0, 0]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == CONTENTS


def test_a_broken_connection_leaves_what_another_run_goes_on_with(receivers: list[Receiver], tmp_path: Path) -> None:
    sha256, content = next(iter(CONTENTS.items()))
    for each in receivers:
        each.announce(sha256)
        each.answer()
        each.send(content[:300])
    assert [each.end() for each in receivers] == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == [f"{sha256}.part"]
    later = Receiver(tmp_path)
    later.announce(sha256)
    assert later.answer() == {"have": 300}
    later.send(content[300:])
    assert later.answer() == {"stored": True}
    assert later.end() == 0
