"""Keep files under their SHA-256. The text of this file runs on the device, with the folder as its argument.

{"files": {SHA-256: BYTES}} is answered by {"missing_bytes": N, "free_bytes": N}. A header {"sha256", "bytes"} is
answered by how many bytes are there already, {"have": N}; then come the rest of them, answered by {"stored": true},
{"damaged": true} or {"error": TEXT}. What came before a connection broke is kept.
"""

import fcntl
import hashlib
import json
import os
import sys
from typing import BinaryIO

CHUNK = 65536


def say(**answer: object) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def space(folder: str, files: "dict[str, int]") -> None:
    """Say how many bytes of some files are not there, and how many there is space for."""
    missing = 0
    for sha256, count in files.items():
        path = os.path.join(folder, sha256)
        missing += max(0, count - max(size(path), size(path + ".part")))
    free = os.statvfs(folder)
    say(missing_bytes=missing, free_bytes=free.f_bavail * free.f_frsize)


def size(path: str) -> int:
    """Return how many bytes a file has: none if it is not there, or not there any more."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def header_line() -> bytes:
    """Read one line without reading on, since a file may follow."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


def digest(path: str) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    value = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(CHUNK), b""):
            value.update(block)
    return value.hexdigest()


def is_at(file: BinaryIO, path: str) -> bool:
    """Return whether an open file still has this path: another run may have stored it or thrown it away."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def own_part(path: str) -> "tuple[str, BinaryIO]":
    """Open what is there of a file to append to it; what another run is writing is left to it.

    Until it is closed, no other run writes, moves or removes it.
    """
    for name in (path + ".part", path + ".part-" + str(os.getpid())):
        file = open(name, "ab")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        if is_at(file, name):
            return name, file
        file.close()
    raise OSError(path + " is being written")


def is_stored(path: str, sha256: str) -> bool:
    """Return whether a file is there, whole."""
    return os.path.exists(path) and digest(path) == sha256


def receive(folder: str, sha256: str, count: int) -> None:
    """Receive one file, unless it is there."""
    path = os.path.join(folder, sha256)
    if is_stored(path, sha256):
        return say(have=count)
    part, file = own_part(path)
    with file:
        if is_stored(path, sha256):
            os.unlink(part)
            return say(have=count)
        have = os.path.getsize(part)
        if have >= count:
            if digest(part) == sha256:
                os.replace(part, path)
                return say(have=count)
            file.truncate(0)
            have = 0
        say(have=have)
        if not append(file, count - have):
            if part != path + ".part":
                os.unlink(part)
            sys.exit(1)
        if digest(part) != sha256:
            os.unlink(part)
            return say(damaged=True)
        os.replace(part, path)
        return say(stored=True)


def append(file: BinaryIO, count: int) -> bool:
    """Append so many bytes of standard input to a file; return whether they came, or the connection broke."""
    while count:
        block = os.read(0, min(CHUNK, count))
        if not block:
            return False
        file.write(block)
        file.flush()  # what came before a connection breaks is kept, and a full disk is told at once
        count -= len(block)
    return True


try:
    os.makedirs(sys.argv[1], exist_ok=True)
    for line in iter(header_line, b""):
        header = json.loads(line.decode())
        if "files" in header:
            space(sys.argv[1], header["files"])
        else:
            receive(sys.argv[1], header["sha256"], header["bytes"])
except OSError as error:
    say(error=f"files cannot be kept in {sys.argv[1]}: {error.strerror or error}: make space there")
