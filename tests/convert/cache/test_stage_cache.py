"""When a stage is computed, when it is recalled, and when its result is not kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from convert.cache.stages import CacheableStage, StageCache
from convert.cache.store import Cache, Key
from convert.system.progress import Progress
from tests.convert.listeners import Listener


@dataclass
class Doubling:
    """A slow stage: it reads a number from a file, and doubles it."""

    file: Path
    runs: int = 0
    meanwhile: Callable[[], object] = lambda: None

    @property
    def stage(self) -> CacheableStage[int]:
        return CacheableStage(self.file.parent, self.key, self.compute)

    def key(self) -> Key:
        return Key("double", "a number", {"of": self.file.read_text()})

    def compute(self, progress: Progress) -> int:
        self.runs += 1
        result = 2 * int(self.file.read_text())
        progress.note(f"read {self.file}")
        self.meanwhile()
        return result


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


def test_a_stage_is_computed_once(memory: StageCache, doubling: Doubling) -> None:
    assert [memory.run(doubling.stage) for _ in range(3)] == [42, 42, 42]
    assert doubling.runs == 1
    assert memory.recalled == ["double", "double"]
    assert notes(memory)[1] == "double: from the cache, made just now"


def test_what_it_noted_is_told_again_where_its_folder_is_now(memory: StageCache, doubling: Doubling) -> None:
    memory.run(doubling.stage)
    moved = doubling.file.parent.rename(doubling.file.parent.with_name("there"))
    memory.run(Doubling(moved / "number").stage)
    assert notes(memory)[0] == f"read {doubling.file}"
    assert notes(memory)[-1] == f"read {moved / 'number'}"


def test_changed_content_is_another_input(memory: StageCache, doubling: Doubling) -> None:
    memory.run(doubling.stage)
    doubling.file.write_text("4")
    assert memory.run(doubling.stage) == 8
    assert memory.recalled == []


def test_a_damaged_entry_is_computed_again(memory: StageCache, doubling: Doubling) -> None:
    memory.run(doubling.stage)
    assert memory.cache is not None
    (path,) = memory.cache.folder.glob("*/result.json")
    path.write_bytes(path.read_bytes().replace(b"42", b"43"))
    assert memory.run(doubling.stage) == 42
    assert memory.run(doubling.stage) == 42
    assert doubling.runs == 2
    assert any("what was kept of the double is damaged" in note for note in notes(memory))


def test_what_fails_leaves_no_entry(memory: StageCache, doubling: Doubling) -> None:
    doubling.file.write_text("no number")
    with pytest.raises(ValueError, match="no number"):
        memory.run(doubling.stage)
    assert memory.cache is not None
    assert memory.cache.entries() == []


def test_inputs_that_change_meanwhile_leave_no_entry(memory: StageCache, doubling: Doubling) -> None:
    """The result is of the one or of the other, nobody knows."""
    doubling.meanwhile = lambda: doubling.file.write_text("5")
    assert memory.run(doubling.stage) == 42
    assert "something changed meanwhile" in notes(memory)[-1]
    doubling.meanwhile = doubling.file.unlink
    assert memory.run(doubling.stage) == 10
    assert "the double is not kept" in notes(memory)[-1]
    assert memory.cache is not None
    assert memory.cache.entries() == []


def test_a_result_that_cannot_be_written_down_is_a_result(memory: StageCache, doubling: Doubling) -> None:
    with patch.object(Doubling, "compute", return_value={1, 2}):
        assert memory.run(doubling.stage) == {1, 2}
    assert notes(memory)[-1] == "cache: the double is not kept: result is a set, which the cache cannot keep"


def test_inputs_that_cannot_be_read_are_the_stage_s_own_error(memory: StageCache, doubling: Doubling) -> None:
    doubling.file.unlink()
    with pytest.raises(FileNotFoundError):
        memory.run(doubling.stage)
    assert doubling.runs == 1


def test_without_a_cache_everything_is_computed(doubling: Doubling) -> None:
    memory = StageCache(None, Listener())
    assert [memory.run(doubling.stage) for _ in range(2)] == [42, 42]
    assert doubling.runs == 2
