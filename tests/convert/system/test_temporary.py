"""Temporary folders: removed at the end, or by the next run; those of living processes are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convert.system.temporary import discard, scratch_folder, sweep

KILLED = """
import os, signal, sys
from pathlib import Path
from convert.system.temporary import scratch_folder
with scratch_folder(Path(sys.argv[1])) as scratch:
    (scratch / "file").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_after_an_error(error: type[BaseException], tmp_path: Path) -> None:
    def fail(scratch: Path) -> None:
        (scratch / "below").mkdir()
        raise error

    with pytest.raises(error), scratch_folder(tmp_path / "new") as scratch:
        fail(scratch)
    assert names(tmp_path / "new") == set()


def test_what_nobody_holds_is_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".irv2-scratch-0123abcd" / "below").mkdir(parents=True)
    (tmp_path / ".irv2-scratch-01230000").touch()
    others = {".irv2-config", ".other.partial", "irv2-scratch-0123abcd"}
    for name in others:
        (tmp_path / name).touch()
    with scratch_folder(tmp_path) as scratch:
        sweep(tmp_path)
        assert names(tmp_path) == {*others, scratch.name}
    assert names(tmp_path) == others


def test_what_a_killed_process_left_goes_with_the_next_folder(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    with scratch_folder(tmp_path) as scratch:
        assert names(tmp_path) == {scratch.name}


def test_a_folder_within_one_of_ours(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as outer, scratch_folder(outer) as inner:
        assert names(outer) == {inner.name}
        assert names(tmp_path) == {outer.name}


RACING = """
import sys, time
from pathlib import Path
from convert.system.temporary import scratch_folder
while time.time() < float(sys.argv[2]):
    pass
for _ in range(300):
    with scratch_folder(Path(sys.argv[1])) as scratch:
        (scratch / "file").write_text("mine")
        assert (scratch / "file").read_text() == "mine"
print("right")
"""


def test_processes_that_make_and_sweep_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACING, str(tmp_path), str(time.time() + 2)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["right\n"] * 3
    assert names(tmp_path) == set()


def test_discarding_takes_files_folders_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "file").touch()
    for name in ("folder", "file", "nothing"):
        discard(tmp_path / name)
    assert names(tmp_path) == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may rename everywhere")
def test_what_cannot_be_discarded_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError):
        discard(tmp_path / "file")
