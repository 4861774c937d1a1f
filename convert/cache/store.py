"""A store of slow intermediate results, found by what they depend on, in a folder of the user's.

An entry is a folder of plain files: `meta.json`, those of the result, and `checksums.sfv`, CRC-32 as `rhash`
and `cksfv` read it: it tells damage, and is seven times as fast as SHA-256 where the processor does not compute that.
It gets its name by being renamed, so that it exists whole or not at all even when several processes write it at the
same time, and it loses its name before it is removed. No result is used before its checksums hold. A folder that
cannot be used makes work slower, never wrong; it is mentioned once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import platformdirs

from convert.errors import ConvertError
from convert.system.temporary import discard, scratch_folder, sweep

FOLDER_VARIABLE, SIZE_VARIABLE = "IRV2_CACHE_DIR", "IRV2_CACHE_GB"
DEFAULT_GB = 4.0
SUFFIX = ".entry"
META, CHECKSUMS = "meta.json", "checksums.sfv"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError)
"""What reading a damaged or foreign entry raises."""
UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True)
class Key:
    """What an entry is found by.

    Attributes:
        kind: of result: "float network", "calibration", ...
        of: what it belongs to, for people; two keys that differ in it alone are the same.
        fields: everything the result depends on, as JSON values.
    """

    kind: str
    of: str
    fields: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Return the SHA-256 of kind and fields in hexadecimal, whatever the order of the fields."""
        return hashlib.sha256(json.dumps([self.kind, self.fields], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """An entry in a listing.

    `used` is when it was last read or written, and `made` when it was made, in seconds since 1970; `kind` and `of` are
    those of its `Key`, "damaged" and "" if they cannot be read.
    """

    path: Path
    bytes: int
    used: float
    made: float
    kind: str
    of: str


@dataclass
class Cache:
    """The entries in one folder.

    Attributes:
        folder: where they are; made when the first is written.
        limit: bytes that all of them may take together; the least recently used ones are removed first.
        note: told, once, why the folder is not used; and about every damaged entry.
        usable: False after the folder could not be written to.
    """

    folder: Path
    limit: int
    note: Callable[[str], object] = field(default=lambda text: None)
    usable: bool = True

    def load(self, key: Key) -> Mapping[str, bytes] | None:
        """Return the files of the result of a key, or None if there is none. Damaged ones are removed and mentioned."""
        path = self._path(key)
        if not os.path.lexists(path):
            return None
        try:
            with contextlib.ExitStack() as stack:  # open files stay readable even if another process removes them
                names = sorted(os.listdir(path))
                result = _read({name: stack.enter_context((path / name).open("rb")) for name in names}, key)
        except UNREADABLE as error:
            if os.path.lexists(path):
                self.note(f"cache: what was kept of the {key.kind} is damaged ({error}), it is made again")
                self._discard(path)
            return None
        with contextlib.suppress(OSError):  # a folder that can be read only
            os.utime(path)
        return result

    def store(self, key: Key, result: Mapping[str, bytes]) -> None:
        """Keep the files of a result if there is room. Without room or rights, the first failure is mentioned."""
        if not self.usable:
            return
        meta = {"key": key.digest, "kind": key.kind, "of": key.of}
        files = {META: json.dumps(meta).encode(), **result}
        files[CHECKSUMS] = _checksums(files)
        size = sum(map(len, files.values()))
        if size > self.limit:
            self.note(f"cache: the {key.kind} takes {size / 1e9:.1f} GB, more than the whole cache may: it is not kept")
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._evict(self.limit - size)
            self._write(self._path(key), files)
        except OSError as error:
            self.usable = False
            self.note(f"cache: {self.folder} cannot be written to ({error.strerror or error}): going on without it")

    def entries(self) -> list[Entry]:
        """Return all entries, the most recently used one first."""
        found: list[Entry] = []
        with contextlib.suppress(OSError):
            for path in self.folder.glob(f"*{SUFFIX}"):
                with contextlib.suppress(OSError):  # removed meanwhile
                    found.append(_entry(path))
        return sorted(found, key=lambda each: each.used, reverse=True)

    def clear(self) -> int:
        """Remove all entries, and what killed writers left; return how many there were, or raise `ConvertError`."""
        entries = self.entries()
        try:
            for entry in entries:
                discard(entry.path)
            if self.folder.is_dir():
                sweep(self.folder)
        except OSError as error:
            raise ConvertError(f"cache {self.folder} cannot be cleared: {error}; remove it by hand") from error
        return len(entries)

    def _path(self, key: Key) -> Path:
        return self.folder / f"{key.kind.replace(' ', '-')}-{key.digest}{SUFFIX}"

    def _write(self, path: Path, files: Mapping[str, bytes]) -> None:
        """Write an entry unless another process was quicker.

        It is not flushed to the disk: the checksums of what a power failure leaves do not hold.
        """
        with scratch_folder(self.folder) as scratch:
            for name, data in files.items():
                (scratch / name).write_bytes(data)
            try:
                scratch.rename(path)
            except OSError:
                if not path.exists():
                    raise

    def _evict(self, limit: int) -> None:
        """Remove the least recently used entries until the others take no more than `limit` bytes."""
        entries = self.entries()
        total = sum(entry.bytes for entry in entries)
        while total > limit and entries:
            oldest = entries.pop()
            self._discard(oldest.path)
            total -= oldest.bytes

    def _discard(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            discard(path)


def open_cache(note: Callable[[str], object]) -> Cache | None:
    """Return the user's cache, see `limit`; None, with a note why, if there is no place for one."""
    try:
        folder = place()
    except ConvertError as error:
        note(f"going on without a cache: {error}")
        return None
    return Cache(folder, limit(), note)


def place() -> Path:
    """Return the cache's folder, which need not exist; a `ConvertError` if none is set and no home folder is known."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    with contextlib.suppress(RuntimeError):  # no home: platformdirs raises, or returns a relative path
        folder = platformdirs.user_cache_path("irv2-edge", appauthor=False)
        if folder.is_absolute():
            return folder
    raise ConvertError(f"there is no home folder to keep a cache in: set {FOLDER_VARIABLE} to a folder")


def limit() -> int:
    """Return how many bytes the cache may take; a `ConvertError` if the variable is not a number."""
    text = os.environ.get(SIZE_VARIABLE) or str(DEFAULT_GB)
    with contextlib.suppress(ValueError, OverflowError):
        if (found := int(1e9 * float(text))) >= 0:
            return found
    raise ConvertError(f"{SIZE_VARIABLE}={text} is not a number of gigabytes: set it to one, such as {DEFAULT_GB:g}")


def ago(moment: float) -> str:
    """Return how long ago a moment (seconds since 1970) was, in the largest unit that fits."""
    seconds = int(time.time() - moment)
    for length, unit in UNITS:
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _checksums(files: Mapping[str, bytes]) -> bytes:
    with ThreadPoolExecutor() as pool:  # which does not hold Python's lock
        lines = pool.map(lambda name: f"{name} {zlib.crc32(files[name]):08X}\n", sorted(files))
        return "".join(lines).encode()


def _read(opened: Mapping[str, BinaryIO], key: Key) -> Mapping[str, bytes]:
    """Read the result of a key from the files of its entry; ValueError if anything is not as it was written."""
    with ThreadPoolExecutor() as pool:
        files = dict(zip(opened, pool.map(lambda file: file.read(), opened.values()), strict=True))
    if files.pop(CHECKSUMS) != _checksums(files):
        raise ValueError("its checksums do not hold")
    if json.loads(files.pop(META))["key"] != key.digest:
        raise ValueError("it is the entry of another key")
    return files


def _entry(path: Path) -> Entry:
    files = list(path.iterdir()) if path.is_dir() else [path]
    used = made = path.stat().st_mtime
    kind, of = "damaged", ""
    with contextlib.suppress(*UNREADABLE):
        meta = json.loads((path / META).read_bytes())
        kind, of, made = str(meta["kind"]), str(meta["of"]), (path / META).stat().st_mtime
    return Entry(path, sum(file.stat().st_size for file in files), used, made, kind, of)
