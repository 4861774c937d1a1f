"""What can be done to the bytes of any file, and what numbers are put where others were."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from random import Random

WORDS = (0, 1, 3, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WILD = (-(2**31), -2, -1, 0, 1, 2, 3, 4, 7, 127, 255, 256, 65535, 2**20, 2**31 - 1)
FOUR_GIGABYTES = 0xFFFFFFFF


def scrambled(random: Random, content: bytes) -> bytes:
    """A few bits flipped, bytes or 32-bit words replaced, at any place."""
    spoiled = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        at = random.randrange(len(spoiled) - 3)
        kind = random.randrange(3)
        if kind == 0:
            spoiled[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            spoiled[at] = random.randrange(256)
        else:
            struct.pack_into("<I", spoiled, at, random.choice((*WORDS, len(spoiled), random.getrandbits(32))))
    return bytes(spoiled)


def with_tail(flatbuffer: bytes, members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A flatbuffer with a zip behind it, as `convert.tflite.artifact_writer` puts it."""
    file = io.BytesIO()
    file.write(flatbuffer)
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "a", compression) as archive:  # of doubles
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()
