"""A folder that is being filled."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from edge_runtime.camera import folder
from edge_runtime.camera.folder import FilledFolder
from edge_runtime.errors import CameraError


class Looks:
    """Time that passes only between two looks at the folder, when the next of some steps happens."""

    def __init__(self, *steps: object) -> None:
        self._steps = list(steps)

    def sleep(self, _: float) -> None:
        if not self._steps:
            raise TimeoutError("nothing more happens")
        step = self._steps.pop(0)
        if callable(step):
            step()


def paths_after(monkeypatch: pytest.MonkeyPatch, where: Path, *steps: object) -> list[str]:
    """The names of the frames that a folder gives while the steps happen, one before each look."""
    monkeypatch.setattr(folder, "time", Looks(*steps))
    found: list[str] = []
    with suppress(TimeoutError):
        for path in FilledFolder(str(where)).frames():
            found.append(Path(str(path)).name)
    return found


def test_what_is_new_is_a_frame_and_what_was_there_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "old.jpg").write_bytes(b"1")
    new = tmp_path / "new.jpg"
    assert paths_after(monkeypatch, tmp_path, lambda: new.write_bytes(b"2"), None, None, None) == ["new.jpg"]


def test_a_picture_that_is_being_written_waits_until_it_is_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    steps = [lambda size=size: path.write_bytes(b"x" * size) for size in (0, 10, 20)]
    monkeypatch.setattr(folder, "time", looks := Looks(*steps, None, None))
    frames = FilledFolder(str(tmp_path)).frames()
    assert next(frames) == str(path)
    assert path.stat().st_size == 20
    assert len(looks._steps) == 1, "the look after the last change is the one that finds it whole"


def test_a_picture_that_is_replaced_is_new_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, other = tmp_path / "snapshot.jpg", tmp_path / ".snapshot.jpg.part"
    path.write_bytes(b"1")
    other.write_bytes(b"2")
    assert paths_after(monkeypatch, tmp_path, lambda: other.replace(path), None, None) == ["snapshot.jpg"]


def test_several_come_in_the_order_of_their_writing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def write() -> None:
        for age, name in enumerate(("c.png", "a.JPG", "b.webp", "notes.txt", ".hidden.png")):
            (tmp_path / name).write_bytes(b"1")
            os.utime(tmp_path / name, ns=(0, 10**18 - age))

    assert paths_after(monkeypatch, tmp_path, write, None, None) == ["b.webp", "a.JPG", "c.png"]


def test_what_is_remembered_does_not_grow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder that is emptied is forgotten: the same file again is new."""
    kept = tmp_path / "kept"
    kept.write_bytes(b"1")
    path = tmp_path / "a.jpg"
    again = [lambda: os.link(kept, path), None, path.unlink, None]
    assert paths_after(monkeypatch, tmp_path, *again, *again, None) == ["a.jpg", "a.jpg"]


def test_a_folder_that_goes_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    where = tmp_path / "in"
    where.mkdir()
    monkeypatch.setattr(folder, "time", Looks(lambda: shutil.rmtree(where)))
    with pytest.raises(CameraError, match="in cannot be read: No such file or directory; check the folder"):
        next(FilledFolder(str(where)).frames())
