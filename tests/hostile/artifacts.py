"""2,000 ways to spoil an artifact, each made from its number alone.

Even numbers are spoiled and left so: the checksums tell. Odd ones are signed again afterwards, as somebody would who
wants to get past them and to the parser.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

from edge_runtime.artifact import CARD_NAME, LABELS_NAME
from edge_runtime.specs import TensorSpec
from tests.edge_runtime.tiny_model import PIXEL_SCALE, TinyArtifact, tiny_artifact
from tests.hostile.damage import FOUR_GIGABYTES, WORDS, scrambled, with_tail
from tests.hostile.graphs import changed_graph

COUNT = 2000
VALUES = (None, True, -1, 0, 10**9, 2**70, 1e308, "", "x" * 10**5, "int8", [], [0] * 10**4, {}, [[[[]]]], "\0\x1b[2J")
"""What a card may say in place of what it should."""
BOMB_BYTES = 2**28


def artifact_file(number: int) -> tuple[bytes, str]:
    """A spoiled artifact, and in which way."""
    random = Random(number)
    ways = SIGNED_AGAIN if is_signed_again(number) else DAMAGES
    way = ways[number // 2 % len(ways)]
    return way(random, random.choice(sound_artifacts())), way.__name__.strip("_")


def is_signed_again(number: int) -> bool:
    """Whether its checksums hold."""
    return number % 2 == 1


@cache
def sound_artifacts() -> tuple[TinyArtifact, ...]:
    """Float and integer ends."""
    return tiny_artifact(), tiny_artifact(TensorSpec("image", "uint8", PIXEL_SCALE, 127, "pixels"))


def whole(artifact: TinyArtifact) -> bytes:
    return with_tail(artifact.flatbuffer, members(artifact))


def members(artifact: TinyArtifact) -> list[tuple[str, bytes]]:
    return [(LABELS_NAME, artifact.labels), (CARD_NAME, artifact.card.to_bytes())]


# Left damaged


def _cut(random: Random, artifact: TinyArtifact) -> bytes:
    content = whole(artifact)
    return content[: random.randrange(len(content))]


def _flipped(random: Random, artifact: TinyArtifact) -> bytes:
    return scrambled(random, whole(artifact))


def _zeroed(random: Random, artifact: TinyArtifact) -> bytes:
    content = bytearray(whole(artifact))
    start = random.randrange(len(content))
    length = min(random.randrange(1, 300), len(content) - start)
    content[start : start + length] = bytes(length)
    return bytes(content)


def _spliced(random: Random, artifact: TinyArtifact) -> bytes:
    """The beginning of one file and the end of another, or zips behind each other."""
    first, second = whole(artifact), whole(random.choice(sound_artifacts()))
    other = with_tail(b"", [("other.txt", bytes(random.randrange(1000)))])
    joined = (
        first[: random.randrange(len(first))] + second[random.randrange(len(second)) :],
        first + other,
        first + second,
        artifact.flatbuffer + other + first[len(artifact.flatbuffer) :],
        first + bytes(random.randrange(1, 70_000)),
    )
    return random.choice(joined)


def _directory_lies(random: Random, artifact: TinyArtifact) -> bytes:
    """Sizes, offsets and methods in the zip's directories, up to claims of 4 GB."""
    content = bytearray(whole(artifact))
    headers = [at for mark in (b"PK\1\2", b"PK\3\4", b"PK\5\6") for at in _places(content, mark)]
    for _ in range(random.randrange(1, 4)):
        at = random.choice(headers) + random.randrange(4, 22)
        struct.pack_into("<I", content, min(at, len(content) - 4), random.choice((*WORDS, FOUR_GIGABYTES)))
    return bytes(content)


def _places(content: bytearray, mark: bytes) -> list[int]:
    found, at = [], content.find(mark)
    while at >= 0:
        found.append(at)
        at = content.find(mark, at + 1)
    return found


def _bomb(random: Random, artifact: TinyArtifact) -> bytes:
    """A member that inflates to 256 MB, honest about it or not."""
    tail = bytearray(_bomb_tail(random.choice((CARD_NAME, LABELS_NAME))))
    if random.random() < 0.5:
        for at in _places(tail, b"PK\1\2"):
            struct.pack_into("<I", tail, at + 24, 1000)
    return artifact.flatbuffer + tail


@cache
def _bomb_tail(name: str) -> bytes:
    other = LABELS_NAME if name == CARD_NAME else CARD_NAME
    return with_tail(b"", [(name, bytes(BOMB_BYTES)), (other, b"{}")], zipfile.ZIP_DEFLATED)


def _names(random: Random, artifact: TinyArtifact) -> bytes:
    """Members whose names lead elsewhere, or that there are two of."""
    extra = random.choice(
        ("../../card.json", "/etc/passwd", "..\\card.json", CARD_NAME, LABELS_NAME, "card.json\0.txt")
    )
    added = [*members(artifact), (extra, b"{}" * random.randrange(100))]
    random.shuffle(added)
    return with_tail(artifact.flatbuffer, added)


def _stale_card(random: Random, artifact: TinyArtifact) -> bytes:
    """A part replaced, and the card left as it was."""
    change = random.choice(
        (
            replace(artifact, labels=artifact.labels.replace(b"red", b"der")),
            replace(artifact, flatbuffer=changed_graph(random, artifact.flatbuffer)),
            replace(artifact, card=replace(artifact.card, classes=random.choice((1, 4, 10**9)))),
        )
    )
    return whole(change)


DAMAGES: tuple[Callable[[Random, TinyArtifact], bytes], ...] = (
    *(_cut, _flipped, _zeroed, _spliced, _directory_lies, _names, _stale_card, _flipped, _directory_lies, _bomb),
)


# Signed again


def _bytes_signed(random: Random, artifact: TinyArtifact) -> bytes:
    """Broken offsets and sizes."""
    spoiled = bytearray(scrambled(random, artifact.flatbuffer))
    spoiled[4:8] = b"TFL3"
    return whole(replace(artifact, flatbuffer=bytes(spoiled)).signed())


def _cut_signed(random: Random, artifact: TinyArtifact) -> bytes:
    length = random.randrange(8, len(artifact.flatbuffer))
    return whole(replace(artifact, flatbuffer=artifact.flatbuffer[:length]).signed())


def _graph_signed(random: Random, artifact: TinyArtifact) -> bytes:
    """A well-formed flatbuffer of a graph that makes no sense."""
    return whole(replace(artifact, flatbuffer=changed_graph(random, artifact.flatbuffer)).signed())


def _labels_signed(random: Random, artifact: TinyArtifact) -> bytes:
    labels = random.choice(
        (b"", b"\n\n\n", b"a\nb\nc\nd\n", b"\xff\xfe\nb\nc\n", b"\x1b[2J\n\0\n" + b"x" * 10**6 + b"\n")
    )
    return whole(replace(artifact, labels=labels).signed())


def _card_signed(random: Random, artifact: TinyArtifact) -> bytes:
    """Wrong sizes, types and values in the card."""
    card = json.loads(artifact.card.to_bytes())
    for _ in range(random.choice((1, 1, 2))):
        place = random.choice((card, card, card["input"], card["output"], card["preprocessing"], card["sha256"]))
        if isinstance(place, dict) and place:
            key = random.choice(sorted(place))
            if random.random() < 0.1:
                del place[key]
            else:
                place[key] = random.choice((*VALUES, 1, 2, 4, 4096, 100_000))
        if not all(isinstance(card.get(key), dict) for key in ("input", "output", "preprocessing", "sha256")):
            break
    return with_tail(artifact.flatbuffer, [(LABELS_NAME, artifact.labels), (CARD_NAME, signed_card(card))])


def signed_card(card: dict[str, Any]) -> bytes:
    """A card's JSON with the hash of what it says, whatever that is."""
    others = card.get("sha256")
    if isinstance(others, dict):
        others.pop("card", None)
        others["card"] = hashlib.sha256(_dumped(card)).hexdigest()
    return _dumped(card)


def _dumped(card: dict[str, Any]) -> bytes:
    return json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False).encode()


SIGNED_AGAIN: tuple[Callable[[Random, TinyArtifact], bytes], ...] = (
    *(_bytes_signed, _graph_signed, _graph_signed, _card_signed, _bytes_signed, _graph_signed, _labels_signed),
    *(_graph_signed, _card_signed, _cut_signed),
)
