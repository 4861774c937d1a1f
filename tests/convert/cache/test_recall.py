"""When a step is computed, when it is recalled, and when its result is not kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from convert.cache.recall import CachedStage, Encoded, StageCache, ago
from convert.cache.store import Cache, Entry, Key
from convert.errors import ConvertError
from convert.system.progress import Progress
from tests.convert.listeners import Listener


@dataclass
class Doubling:
    """A slow step: it reads a number from a file, and doubles it."""

    file: Path
    runs: int = 0
    meanwhile: Callable[[], object] = lambda: None
    encode: Callable[[int], Encoded] = lambda result: ({"result": result}, {})

    def step(self) -> CachedStage[int]:
        def compute(progress: Progress) -> int:
            self.runs += 1
            result = 2 * int(self.file.read_text())
            progress.note(f"read {self.file}")
            self.meanwhile()
            return result

        def decode(entry: Entry) -> int:
            return int(entry.values["result"])

        return CachedStage(
            lambda: Key("double", "a number", {"of": self.file.read_text()}),
            compute,
            self.encode,
            decode,
            self.file.parent,
        )


@pytest.fixture
def doubling(tmp_path: Path) -> Doubling:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "number").write_text("21")
    return Doubling(tmp_path / "here" / "number")


@pytest.fixture
def memory(tmp_path: Path) -> StageCache:
    progress = Listener()
    return StageCache(Cache(tmp_path / "cache", 10**6, progress.note), progress)


def notes(memory: StageCache) -> list[str]:
    assert isinstance(memory.progress, Listener)
    return memory.progress.notes


def test_a_step_is_computed_once(memory: StageCache, doubling: Doubling) -> None:
    assert [memory.of(doubling.step()) for _ in range(3)] == [42, 42, 42]
    assert doubling.runs == 1
    assert memory.recalled == ["double", "double"]
    assert notes(memory)[1] == "double: from the cache, made just now"


def test_what_it_noted_is_told_again_where_its_folder_is_now(memory: StageCache, doubling: Doubling) -> None:
    memory.of(doubling.step())
    moved = doubling.file.parent.rename(doubling.file.parent.with_name("there"))
    memory.of(Doubling(moved / "number").step())
    assert notes(memory)[0] == f"read {doubling.file}"
    assert notes(memory)[-1] == f"read {moved / 'number'}"


def test_changed_content_is_another_input(memory: StageCache, doubling: Doubling) -> None:
    memory.of(doubling.step())
    doubling.file.write_text("4")
    assert memory.of(doubling.step()) == 8
    assert memory.recalled == []


def test_a_damaged_entry_is_computed_again(memory: StageCache, doubling: Doubling) -> None:
    memory.of(doubling.step())
    assert memory.cache is not None
    (path,) = memory.cache.folder.iterdir()
    path.write_bytes(path.read_bytes().replace(b"42", b"43"))
    assert memory.of(doubling.step()) == 42
    assert memory.of(doubling.step()) == 42
    assert doubling.runs == 2
    assert any("what was kept of the double is damaged" in note for note in notes(memory))


def test_what_fails_leaves_no_entry(memory: StageCache, doubling: Doubling) -> None:
    doubling.file.write_text("no number")
    with pytest.raises(ValueError, match="no number"):
        memory.of(doubling.step())
    assert memory.cache is not None
    assert memory.cache.entries() == []


def test_inputs_that_change_meanwhile_leave_no_entry(memory: StageCache, doubling: Doubling) -> None:
    """The result is of the one or of the other, nobody knows."""
    doubling.meanwhile = lambda: doubling.file.write_text("5")
    assert memory.of(doubling.step()) == 42
    assert "something changed meanwhile" in notes(memory)[-1]
    doubling.meanwhile = doubling.file.unlink
    assert memory.of(doubling.step()) == 10
    assert "the double is not kept" in notes(memory)[-1]
    assert memory.cache is not None
    assert memory.cache.entries() == []


def test_a_result_that_cannot_be_written_down_is_a_result(memory: StageCache, doubling: Doubling) -> None:
    def refuse(result: int) -> Encoded:
        raise ConvertError("no room")

    doubling.encode = refuse
    assert memory.of(doubling.step()) == 42
    assert notes(memory)[-1] == "cache: the double is not kept: no room"


def test_inputs_that_cannot_be_read_are_the_step_s_own_error(memory: StageCache, doubling: Doubling) -> None:
    doubling.file.unlink()
    with pytest.raises(FileNotFoundError):
        memory.of(doubling.step())
    assert doubling.runs == 1


def test_without_a_cache_everything_is_computed(doubling: Doubling) -> None:
    memory = StageCache(None, Listener())
    assert [memory.of(doubling.step()) for _ in range(2)] == [42, 42]
    assert doubling.runs == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (-5, "just now"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "1 minute ago"),
        (3 * 3600 + 5, "3 hours ago"),
        (86400, "1 day ago"),
        (400 * 86400, "400 days ago"),
    ],
)
def test_how_long_ago(seconds: float, words: str) -> None:
    assert ago(time.time() - seconds - 0.1) == words
