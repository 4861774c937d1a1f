"""A file is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from convert.errors import ConvertError
from convert.system.temporary import refuse_unwritable, write_atomically


def test_new_files_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, lambda partial: partial.write_bytes(b"new"))
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


def test_others_may_read_the_file(tmp_path: Path) -> None:
    """Temporary files are their owner's alone."""
    write_atomically(tmp_path / "file", lambda partial: partial.write_bytes(b"new"))
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fill(partial: Path) -> None:
        assert partial.parent.parent == path.parent, "a rename across disks is no rename"
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"

    write_atomically(path, fill)
    assert path.read_bytes() == b"new"


def test_who_holds_the_old_file_open_keeps_it(tmp_path: Path) -> None:
    """An interpreter maps its model into memory: it must not change under its feet."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as held:
        write_atomically(path, lambda partial: partial.write_bytes(b"new"))
        assert held.read() == b"old"


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (steps.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (steps.append("rename"), replace(self, target))[1])
    write_atomically(tmp_path / "file", lambda partial: partial.write_bytes(b"new"))
    assert steps == ["fsync", "rename"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_leaves_nothing_but_the_old_file(number: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fill(partial: Path) -> None:
        partial.write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(ConvertError) as caught:
        write_atomically(path, fill)
    assert str(caught.value) == f"{path} cannot be written: {os.strerror(number)}; free space or write elsewhere"
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_a_disk_that_fails_at_the_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network disks tell of a full disk at fsync."""

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ConvertError, match="No space left"):
        write_atomically(tmp_path / "file", lambda partial: partial.write_bytes(b"new"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_what_is_no_disk_error_passes_through_and_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def fill(partial: Path) -> None:
        partial.write_bytes(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(tmp_path / "file", fill)
    assert os.listdir(tmp_path) == []


def test_a_target_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(ConvertError, match="file cannot be written: Is a directory"):
        refuse_unwritable([tmp_path / "file"])
    with pytest.raises(ConvertError, match="cannot be written"):
        write_atomically(tmp_path / "file", lambda partial: partial.write_bytes(b"new"))
    assert os.listdir(tmp_path) == ["file"]


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parent").write_text("")
    with pytest.raises(ConvertError, match="file cannot be written: Not a directory"):
        refuse_unwritable([tmp_path / "parent" / "file"])
    with pytest.raises(ConvertError, match="cannot be written"):
        write_atomically(tmp_path / "parent" / "file", lambda partial: partial.write_bytes(b"new"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ConvertError, match="Permission denied"):
        write_atomically(tmp_path / "file", lambda partial: partial.write_bytes(b"new"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "file"
    write_atomically(path, lambda partial: partial.write_bytes(b"old"))
    with pytest.raises(ConvertError, match="No space left on device; free space or write elsewhere"):
        write_atomically(path, lambda partial: partial.write_bytes(bytes(100_000)))
    assert os.listdir(small_disk) == ["file"]
    assert path.read_bytes() == b"old"
    write_atomically(path, lambda partial: partial.write_bytes(bytes(40_000)))


def test_what_can_be_written_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    refuse_unwritable([tmp_path / "old", tmp_path / "new", tmp_path / "a" / "b" / "file"])
    assert os.listdir(tmp_path) == ["old"]
