"""The store itself: whatever happens to its files, what it returns is what was put in, or nothing."""

from __future__ import annotations

import binascii
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.cache import store as room
from convert.cache.store import Cache, Key, ago, open_cache, place
from convert.errors import ConvertError
from convert.system.temporary import scratch_folder

KEY = Key("float network", "mine", {"weights": "12ab", "classes": 3})
PARTS = {"model": b"the network" * 1000, "more": b"\0" * 500}
FILES = ["checksums.sfv", "meta.json", "model", "more"]
GB = 10**9


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, notes: list[str]) -> Cache:
    return Cache(tmp_path / "cache", GB, notes.append)


def key(number: int) -> Key:
    return Key("calibration", "mine", {"number": number})


def holds(cache: Cache, wanted: Key) -> bool:
    return any(wanted.digest in entry.path.name for entry in cache.entries())


def only_entry(cache: Cache) -> Path:
    """The folder of the one entry, or of what is left of one."""
    (path,) = cache.folder.iterdir()
    return path


def files_of(cache: Cache) -> list[Path]:
    return [path for path in cache.folder.rglob("*") if path.is_file()]


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that has the names of this module's imports."""
    names = "import signal, sys, time, resource\nfrom pathlib import Path\nfrom convert.cache.store import Cache, Key\n"
    return subprocess.Popen(
        [sys.executable, "-c", names + script, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_what_is_kept_comes_back(cache: Cache) -> None:
    assert cache.load(KEY) is None
    cache.store(KEY, PARTS)
    assert cache.load(KEY) == PARTS
    (entry,) = cache.entries()
    assert (entry.kind, entry.of) == ("float network", "mine")
    assert abs(entry.made - time.time()) < 60


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Key("float network", "mine", {"classes": 3, "weights": "12ab"}), True),
        (Key("float network", "somebody else's", KEY.fields), True),
        (Key("calibration", "mine", KEY.fields), False),
        (Key("float network", "mine", {"weights": "12ac", "classes": 3}), False),
        (Key("float network", "mine", {"weights": "12ab", "classes": 3, "size": None}), False),
    ],
)
def test_a_key_is_what_a_result_depends_on(cache: Cache, other: Key, same: bool) -> None:
    cache.store(KEY, PARTS)
    assert (cache.load(other) is not None) == same


def test_it_is_plain_files_with_checksums(cache: Cache) -> None:
    cache.store(KEY, PARTS)
    folder = only_entry(cache)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert (folder / "model").read_bytes() == PARTS["model"]
    lines = (folder / "checksums.sfv").read_text().splitlines()
    assert lines == [f"{name} {binascii.crc32((folder / name).read_bytes()):08X}" for name in FILES[1:]]


@given(name=st.sampled_from(FILES), position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(name: str, position: float, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        notes: list[str] = []
        cache = Cache(Path(folder), GB, notes.append)
        cache.store(KEY, PARTS)
        path = only_entry(cache) / name
        content = bytearray(path.read_bytes())
        content[int(position * len(content))] ^= 1 << bit
        path.write_bytes(content)
        assert cache.load(KEY) is None
        assert not path.parent.exists()
        assert [note.split(" (")[0] for note in notes] == ["cache: what was kept of the float network is damaged"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("length", [0, 10, 30, -1], ids=str)
def test_a_truncated_entry_is_removed_and_made_again(cache: Cache, notes: list[str], name: str, length: int) -> None:
    cache.store(KEY, PARTS)
    path = only_entry(cache) / name
    path.write_bytes(path.read_bytes()[:length])
    assert cache.load(KEY) is None
    assert len(notes) == 1
    cache.store(KEY, PARTS)
    assert cache.load(KEY) == PARTS


@pytest.mark.parametrize("name", [*FILES, "another"])
def test_an_entry_that_grew_is_damaged(cache: Cache, notes: list[str], name: str) -> None:
    cache.store(KEY, PARTS)
    with (only_entry(cache) / name).open("ab") as file:
        file.write(b"x")
    assert cache.load(KEY) is None
    assert "its checksums do not hold" in notes[0]


@pytest.mark.parametrize("name", FILES)
def test_an_entry_that_lacks_a_file_is_damaged(cache: Cache, notes: list[str], name: str) -> None:
    cache.store(KEY, PARTS)
    (only_entry(cache) / name).unlink()
    assert cache.load(KEY) is None
    assert len(notes) == 1
    assert cache.entries() == []


def test_a_removed_entry_is_none(cache: Cache, notes: list[str]) -> None:
    cache.store(KEY, PARTS)
    shutil.rmtree(only_entry(cache))
    assert cache.load(KEY) is None
    assert notes == []


def test_an_entry_under_another_s_name_is_refused(cache: Cache, notes: list[str]) -> None:
    """Its checksums hold, but it is the result of something else."""
    cache.store(key(1), PARTS)
    path = only_entry(cache)
    cache.store(key(2), {"model": b"other"})
    shutil.rmtree(path)
    shutil.copytree(cache._path(key(2)), path)
    assert cache.load(key(1)) is None
    assert "the entry of another key" in notes[0]


def test_two_processes_at_once_leave_one_whole_entry(cache: Cache) -> None:
    script = """
cache, key = Cache(Path(sys.argv[1]), 10**9), Key("float network", "mine", {"same": True})
parts = {"model": b"the same network" * 500_000}
while time.time() < float(sys.argv[2]):
    pass
for _ in range(20):
    cache.store(key, parts)
    assert cache.load(key) == parts
print("right", cache.usable)
"""
    moment = time.time() + 3
    processes = [start(script, cache.folder, moment) for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["right True\n"] * 2
    assert only_entry(cache).suffix == ".entry"


KILLED = """
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
Cache(Path(sys.argv[1]), 10**9).store(Key("float network", "mine", {}), {"model": bytes(2**22)})
print("alive")
"""
"""Writing the second megabyte kills it, as SIGKILL would: nothing of it runs any more."""


def test_a_killed_writer_leaves_no_entry_and_is_swept_up(cache: Cache) -> None:
    cache.folder.mkdir()
    killed = start(KILLED, cache.folder)
    assert killed.communicate(timeout=60)[0] == ""
    assert killed.returncode == -signal.SIGXFSZ
    left = only_entry(cache)
    assert [path.stat().st_size for path in left.iterdir()][-1] <= 2**20
    assert cache.entries() == []
    assert cache.load(Key("float network", "mine", {})) is None

    cache.store(key(1), PARTS)
    assert not left.exists()


def test_a_writer_that_lives_is_left_alone(cache: Cache) -> None:
    cache.folder.mkdir()
    with scratch_folder(cache.folder) as scratch:
        cache.store(KEY, PARTS)
        cache.clear()
        assert scratch.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting needs rights that this user lacks: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_mentioned_once_and_left_as_it_was(small_disk: Path, notes: list[str]) -> None:
    cache = Cache(small_disk, GB, notes.append)
    cache.store(KEY, PARTS)
    before = only_entry(cache)
    for number in range(2):
        cache.store(key(number), {"model": bytes(2**21)})
    assert notes == [f"cache: {small_disk} cannot be written to (No space left on device): going on without it"]
    assert only_entry(cache) == before
    assert cache.load(KEY) is not None


def test_a_folder_that_cannot_be_used_is_mentioned_once(tmp_path: Path, notes: list[str]) -> None:
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "cache", GB, notes.append)
    for number in range(2):
        assert cache.load(key(number)) is None
        cache.store(key(number), PARTS)
    assert notes == [f"cache: {cache.folder} cannot be written to (Not a directory): going on without it"]
    assert cache.entries() == []
    assert cache.clear() == 0


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 3500)
    for number in range(3):
        cache.store(key(number), {"model": bytes(800)})
        os.utime(cache._path(key(number)), (1000 + number,) * 2)
    assert cache.load(key(0)) is not None, "now it is the most recently used one"
    cache.store(key(3), {"model": bytes(800)})
    assert [holds(cache, key(number)) for number in range(4)] == [True, False, True, True]
    assert [entry.path for entry in cache.entries()][-1] == cache._path(key(2))


@given(sizes=st.lists(st.integers(0, 3000), max_size=8), bound=st.integers(0, 6000))
def test_the_bound_holds_whatever_is_kept(sizes: list[int], bound: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder), bound)
        for number, size in enumerate(sizes):
            cache.store(key(number), {"model": bytes(size)})
            assert sum(path.stat().st_size for path in files_of(cache)) <= bound
            assert holds(cache, key(number)) or size + 1000 > bound, "what was kept last stays, where it fits at all"


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path, notes: list[str]) -> None:
    cache = Cache(tmp_path, 10_000, notes.append)
    cache.store(key(1), {"model": bytes(5000)})
    cache.store(key(2), {"model": bytes(20_000)})
    assert holds(cache, key(1))
    assert not holds(cache, key(2))
    assert "more than the whole cache may" in notes[0]


def test_clearing_does_not_disturb_who_is_reading(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store(KEY, PARTS)
    read = room._read

    def cleared_meanwhile(opened: Mapping[str, BinaryIO], key: Key) -> Mapping[str, bytes]:
        assert cache.clear() == 1
        return read(opened, key)

    monkeypatch.setattr(room, "_read", cleared_meanwhile)
    assert cache.load(KEY) == PARTS
    assert list(cache.folder.iterdir()) == []
    assert cache.load(KEY) is None


def test_a_listing_shows_damaged_entries_too(cache: Cache) -> None:
    cache.store(KEY, PARTS)
    (cache.folder / "x.entry").write_bytes(b"rubbish")
    listed = {each.bytes: (each.kind, each.of) for each in cache.entries()}
    assert listed.pop(7) == ("damaged", "")
    assert list(listed.values()) == [("float network", "mine")]


def test_its_place_is_the_system_s_or_the_chosen_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IRV2_CACHE_DIR", str(tmp_path))
    assert place() == tmp_path
    monkeypatch.delenv("IRV2_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert place() == tmp_path / "xdg" / "irv2-edge"


def test_without_a_home_there_is_none(monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> None:
    def nobody(number: int) -> pwd.struct_passwd:
        raise KeyError(number)

    for name in ("IRV2_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert open_cache(notes.append) is None
    problem = "there is no home folder to keep a cache in: set IRV2_CACHE_DIR to a folder"
    assert notes == [f"going on without a cache: {problem}"]
    with pytest.raises(ConvertError, match=problem):
        place()


def test_its_bound_is_a_number_of_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert room.limit() == 4 * GB
    monkeypatch.setenv("IRV2_CACHE_GB", "0.5")
    assert room.limit() == GB // 2
    for wrong in ("much", "nan", "inf", "-1"):
        monkeypatch.setenv("IRV2_CACHE_GB", wrong)
        with pytest.raises(ConvertError, match=f"IRV2_CACHE_GB={wrong} is not a number of gigabytes"):
            room.limit()


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
