"""A content-addressed store of slow intermediate results, in one folder of the user's.

An entry is one file. Its first line has the checksum of the second, which is a JSON header with the size and the
checksum of each part that follows. It gets its name by being renamed, so that it is there whole or not at all,
whoever writes at the same time; one that is being read may be removed, since the system keeps what is open. Nothing
in it is believed before its checksum holds. A folder that cannot be used makes work slower, never wrong: it is
mentioned once.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import platformdirs

from convert.errors import ConvertError
from convert.system.temporary import partial_file, sweep

FORMAT = "irv2-edge cache 1"
FOLDER_VARIABLE, SIZE_VARIABLE = "IRV2_CACHE_DIR", "IRV2_CACHE_GB"
DEFAULT_GB = 4.0
SUFFIX = ".entry"

LONGEST_HEADER = 2**24
DAMAGED = (OSError, ValueError, KeyError, TypeError, RecursionError)
"""What reading a damaged or foreign file raises."""


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
        """Hexadecimal SHA-256 of kind and fields, the same whatever the order of the fields."""
        text = json.dumps([self.kind, self.fields], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Description:
    """What the head of an entry's file says.

    Attributes:
        kind, of: as of its key.
        made: when, in seconds since 1970.
        values: small results, as JSON values.
    """

    kind: str
    of: str
    made: float
    values: dict[str, Any]


@dataclass(frozen=True)
class Entry(Description):
    """An entry whose checksums hold: its small values, and its large parts by name."""

    parts: dict[str, bytes]


@dataclass(frozen=True)
class Listed:
    """An entry as a listing shows it; `used` is when it was last read or written, in seconds since 1970."""

    path: Path
    bytes: int
    used: float
    description: Description | None


@dataclass
class Cache:
    """The entries in one folder.

    Attributes:
        folder: where they are; made when the first is written.
        limit: bytes that all of them may take; the least recently used ones go first.
        note: told, once, why the folder is not used; and of every damaged entry.
        usable: False after the folder could not be written to.
    """

    folder: Path
    limit: int
    note: Callable[[str], object] = field(default=lambda text: None)
    usable: bool = True

    def load(self, key: Key) -> Entry | None:
        """The entry of a key, or None. A damaged one is removed, and mentioned."""
        path = self._path(key)
        try:
            file = path.open("rb")
        except OSError:  # none there, or no way to it, which `store` will mention
            return None
        try:
            with file:
                entry = _read(file, key)
        except DAMAGED as error:
            self.note(f"cache: what was kept of the {key.kind} is damaged ({error}), it is made again")
            self._remove(path)
            return None
        with contextlib.suppress(OSError):  # a folder that can be read only
            os.utime(path)
        return entry

    def store(self, key: Key, values: Mapping[str, Any], parts: Mapping[str, bytes]) -> None:
        """Keep a result, if there is room for it; without room or rights the first failure is mentioned."""
        if not self.usable:
            return
        description = Description(key.kind, key.of, time.time(), dict(values))
        head = _head(key, description, parts)
        size = len(head) + sum(map(len, parts.values()))
        if size > self.limit:
            self.note(f"cache: the {key.kind} takes {size / 1e9:.1f} GB, more than all the cache may: it is not kept")
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._evict(self.limit - size, spared=None)
            self._write(self._path(key), head, parts)
            self._evict(self.limit, spared=self._path(key))
        except OSError as error:
            self.usable = False
            self.note(f"cache: {self.folder} cannot be written to ({error.strerror or error}): going on without it")

    def entries(self) -> list[Listed]:
        """All entries, the most recently used one first."""
        return sorted(map(_listed, self._files()), key=lambda entry: entry.used, reverse=True)

    def clear(self) -> int:
        """Remove all entries, and what killed writers left; how many entries there were.

        Raises:
            ConvertError: one cannot be removed.
        """
        files = list(self._files())
        try:
            for path in files:
                path.unlink(missing_ok=True)
            if self.folder.is_dir():
                sweep(self.folder)
        except OSError as error:
            raise ConvertError(f"cache {self.folder} cannot be cleared: {error}; remove it by hand") from error
        return len(files)

    def _path(self, key: Key) -> Path:
        return self.folder / f"{key.kind.replace(' ', '-')}-{key.digest}{SUFFIX}"

    def _files(self) -> Iterator[Path]:
        with contextlib.suppress(OSError):
            yield from self.folder.glob(f"*{SUFFIX}")

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def _write(self, path: Path, head: bytes, parts: Mapping[str, bytes]) -> None:
        """Beside its place, then renamed.

        It is not flushed to the disk: what a power failure leaves has no right checksum, and is made again.
        """
        with partial_file(path) as (partial, _):
            with partial.open("wb") as file:
                for data in (head, *parts.values()):
                    file.write(data)
            partial.replace(path)

    def _evict(self, limit: int, spared: Path | None) -> None:
        """Remove the entries that were not used for longest, until the rest takes no more than `limit` bytes."""
        aged = sorted((status.st_mtime, status.st_size, path) for path, status in _statuses(self._files()))
        total = sum(size for _, size, _ in aged)
        for _, size, path in aged:
            if total <= limit:
                return
            if path != spared:
                self._remove(path)
                total -= size


def open_cache(note: Callable[[str], object]) -> Cache | None:
    """The user's cache; None, and a note why, where there is no place for one.

    Raises:
        ConvertError: the variable that bounds it is no number.
    """
    folder = place()
    if folder is None:
        note(f"cache: there is no home folder: going on without it; {FOLDER_VARIABLE} names another place")
        return None
    return Cache(folder, limit(), note)


def place() -> Path | None:
    """The cache's folder, which need not exist; None where nobody's home is known."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    try:
        folder = platformdirs.user_cache_path("irv2-edge", appauthor=False)
    except RuntimeError:  # no home: platformdirs raises, or gives a relative path
        return None
    return folder if folder.is_absolute() else None


def limit() -> int:
    """Bytes that the cache may take.

    Raises:
        ConvertError: the variable is no number.
    """
    text = os.environ.get(SIZE_VARIABLE) or str(DEFAULT_GB)
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    if not 0 <= gigabytes < math.inf:
        raise ConvertError(f"{SIZE_VARIABLE}={text} is no number of gigabytes: set it to one, such as {DEFAULT_GB:g}")
    return int(gigabytes * 1e9)


def _head(key: Key, description: Description, parts: Mapping[str, bytes]) -> bytes:
    """The two lines that an entry's file begins with."""
    sizes = [{"name": n, "bytes": len(part), "sha256": hashlib.sha256(part).hexdigest()} for n, part in parts.items()]
    header = json.dumps({"key": key.digest, "parts": sizes, **vars(description)}).encode()
    return f"{FORMAT} {hashlib.sha256(header).hexdigest()}\n".encode() + header + b"\n"


def _read_header(file: BinaryIO) -> dict[str, Any]:
    """The header, whose checksum holds; ValueError where it does not."""
    first, header = file.readline(len(FORMAT) + 70), file.readline(LONGEST_HEADER).removesuffix(b"\n")
    if first != f"{FORMAT} {hashlib.sha256(header).hexdigest()}\n".encode():
        raise ValueError("the checksum of its header does not hold")
    return dict(json.loads(header))


def _description(header: Mapping[str, Any]) -> Description:
    return Description(header["kind"], header["of"], header["made"], header["values"])


def _read(file: BinaryIO, key: Key) -> Entry:
    """The whole entry of a key; ValueError where something in it is not as it was written."""
    header = _read_header(file)
    if header["key"] != key.digest:
        raise ValueError("it is the entry of another key")
    names, sizes, checksums = ([part[each] for part in header["parts"]] for each in ("name", "bytes", "sha256"))
    starts = list(itertools.accumulate(sizes, initial=file.tell()))
    if os.fstat(file.fileno()).st_size != starts[-1]:
        raise ValueError("it is longer or shorter than it was")
    with ThreadPoolExecutor() as pool:  # reading and hashing do not hold Python's lock
        data = list(pool.map(lambda *part: _read_part(file, *part), names, sizes, checksums, starts))
    return Entry(**vars(_description(header)), parts=dict(zip(names, data, strict=True)))


def _read_part(file: BinaryIO, name: str, size: int, sha256: str, start: int) -> bytes:
    data = os.pread(file.fileno(), size, start)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"the checksum of its {name} does not hold")
    return data


def _listed(path: Path) -> Listed:
    description = None
    with contextlib.suppress(*DAMAGED), path.open("rb") as file:
        description = _description(_read_header(file))
    status = next((status for _, status in _statuses([path])), None)
    return Listed(path, status.st_size if status else 0, status.st_mtime if status else 0.0, description)


def _statuses(paths: Iterator[Path] | list[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Of the files that are still there."""
    for path in paths:
        with contextlib.suppress(OSError):
            yield path, path.stat()
