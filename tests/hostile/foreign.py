"""1,000 ways to spoil a model of somebody else, which no checksum protects, each made from its number alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random

from edge_runtime.specs import TensorSpec
from tests.edge_runtime.foreign_models import ForeignModel, metadata, metadata_bytes
from tests.hostile.damage import scrambled, with_tail
from tests.hostile.graphs import changed_graph

COUNT = 1000


def foreign_file(number: int) -> tuple[bytes, str]:
    """A spoiled model of somebody else, which no checksum protects, and in which way."""
    random = Random(number)
    way = WAYS[number % len(WAYS)]
    return way(random, random.choice(sound_models())), way.__name__.strip("_")


@cache
def sound_models() -> tuple[ForeignModel, ...]:
    """With TFLite Metadata: of a fixed size and of any, and with integers."""
    labels = {"labels.txt": b"red\ngreen\nblue\n"}
    fixed = ForeignModel("logits", metadata=metadata(), files=labels)
    anything = replace(fixed, shape=(1, 1, 1, 3), signature=(1, -1, -1, 3), metadata=metadata(size=(8, 8)))
    return fixed, anything, replace(fixed, end="softmax", image=TensorSpec("image", "uint8", 1 / 127.5, 127))


def _flipped(random: Random, model: ForeignModel) -> bytes:
    spoiled = bytearray(scrambled(random, with_tail(model.flatbuffer(), list(model.files.items()))))
    spoiled[4:8] = b"TFL3"
    return bytes(spoiled)


def _cut(random: Random, model: ForeignModel) -> bytes:
    content = with_tail(model.flatbuffer(), list(model.files.items()))
    return content[: random.randrange(8, len(content))]


def _graph(random: Random, model: ForeignModel) -> bytes:
    return with_tail(changed_graph(random, model.flatbuffer()), list(model.files.items()))


def _metadata(random: Random, model: ForeignModel) -> bytes:
    """Metadata with wrong offsets and lengths in a sound model."""
    sound = model.metadata if isinstance(model.metadata, bytes) else metadata_bytes(model.metadata or {})
    spoiled = replace(model, metadata=scrambled(random, sound))
    return with_tail(spoiled.flatbuffer(), list(model.files.items()))


def _says(random: Random, model: ForeignModel) -> bytes:
    """Sound metadata that say what cannot be."""
    wild = random.choice((0.0, -1.0, 1e-38, 1e38, float("nan"), float("inf")))
    numbers = (wild,) * random.choice((1, 2, 3, 100_000))
    size = random.choice(((1, 1), (8, 8), (4096, 4096), (2**32 - 1, 1), (1, 2**31)))
    said = metadata(random.choice((numbers, (127.5,))), random.choice((numbers, (1.0,))), ("labels.txt",) * 9, size)
    files = {"labels.txt": random.choice((b"", b"\n", b"a\n" * 10**5, b"0 a\n" * 3, b"\xff\xfe", b"n" * 10**6))}
    return with_tail(replace(model, metadata=said).flatbuffer(), list(random.choice((files, model.files)).items()))


WAYS: tuple[Callable[[Random, ForeignModel], bytes], ...] = (*(_flipped, _cut, _graph, _metadata, _says),)
