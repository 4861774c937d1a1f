"""2,000 ways to spoil a model, each made from its number alone.

Even numbers are spoiled and left so: the checksums tell. Odd ones are signed again afterwards, as somebody would who
wants to get past them and to the parser.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_runtime.artifact import CARD_NAME, LABELS_NAME
from edge_runtime.specs import TensorSpec
from tests.edge_runtime import unusual_models
from tests.edge_runtime.foreign_models import ForeignModel, metadata, metadata_bytes
from tests.edge_runtime.tiny_model import PIXEL_SCALE, TinyArtifact, tiny_artifact

COUNT = 2000
WORDS = (0, 1, 3, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WILD = (-(2**31), -2, -1, 0, 1, 2, 3, 4, 7, 127, 255, 256, 65535, 2**20, 2**31 - 1)
VALUES = (None, True, -1, 0, 10**9, 2**70, 1e308, "", "x" * 10**5, "int8", [], [0] * 10**4, {}, [[[[]]]], "\0\x1b[2J")
"""What a card may say in place of what it should."""

BOMB_BYTES = 2**28
FOUR_GIGABYTES = 0xFFFFFFFF


def model_file(number: int) -> tuple[bytes, str]:
    """A spoiled artifact, and in which way."""
    random = Random(number)
    ways = SIGNED_AGAIN if is_signed_again(number) else DAMAGES
    way = ways[number // 2 % len(ways)]
    return way(random, random.choice(sound_artifacts())), way.__name__.strip("_")


FOREIGN_COUNT = 1000


def foreign_file(number: int) -> tuple[bytes, str]:
    """A spoiled model of somebody else, which no checksum protects, and in which way."""
    random = Random(number)
    way = FOREIGN_WAYS[number % len(FOREIGN_WAYS)]
    return way(random, random.choice(sound_foreign_models())), way.__name__.strip("_")


@cache
def sound_foreign_models() -> tuple[ForeignModel, ...]:
    """With TFLite Metadata: of a fixed size and of any, and with integers."""
    labels = {"labels.txt": b"red\ngreen\nblue\n"}
    fixed = ForeignModel("logits", metadata=metadata(), files=labels)
    anything = replace(fixed, shape=(1, 1, 1, 3), signature=(1, -1, -1, 3), metadata=metadata(size=(8, 8)))
    return fixed, anything, replace(fixed, end="softmax", image=TensorSpec("image", "uint8", 1 / 127.5, 127))


def is_signed_again(number: int) -> bool:
    """Whether its checksums hold."""
    return number % 2 == 1


@cache
def sound_artifacts() -> tuple[TinyArtifact, ...]:
    """Float and integer ends."""
    return tiny_artifact(), tiny_artifact(TensorSpec("image", "uint8", PIXEL_SCALE, 127, "pixels"))


def with_tail(flatbuffer: bytes, members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A flatbuffer with a zip behind it, as `convert.tflite.artifact_writer` puts it."""
    file = io.BytesIO()
    file.write(flatbuffer)
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "a", compression) as archive:  # of doubles
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


def whole(artifact: TinyArtifact) -> bytes:
    return with_tail(artifact.flatbuffer, members(artifact))


def members(artifact: TinyArtifact) -> list[tuple[str, bytes]]:
    return [(LABELS_NAME, artifact.labels), (CARD_NAME, artifact.card.to_bytes())]


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


def changed_graph(random: Random, flatbuffer: bytes) -> bytes:
    """One to three changes of tensors, operators, buffers and ends, written by the flatbuffer library."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(flatbuffer))
    for _ in range(random.choice((1, 1, 2, 3))):
        random.choice(GRAPH_CHANGES)(random, model)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _shape(random: Random, model: Any) -> None:
    tensor = random.choice(model.subgraphs[0].tensors)
    shape = [int(n) for n in tensor.shape] if tensor.shape is not None else [1]
    if shape and random.random() < 0.7:
        shape[random.randrange(len(shape))] = random.choice(WILD)
    else:
        shape = random.choice((shape[1:], [*shape, random.choice(WILD)], shape * 8))
    tensor.shape = shape


def _dtype(random: Random, model: Any) -> None:
    random.choice(model.subgraphs[0].tensors).type = random.randrange(25)


def _tensor_buffer(random: Random, model: Any) -> None:
    tensor = random.choice(model.subgraphs[0].tensors)
    tensor.buffer = random.choice((*range(len(model.buffers) + 1), FOUR_GIGABYTES))


def _operator_inputs(random: Random, model: Any) -> None:
    operator, tensors = random.choice(model.subgraphs[0].operators), len(model.subgraphs[0].tensors)
    inputs = [int(i) for i in operator.inputs] if operator.inputs is not None else []
    if inputs and random.random() < 0.6:
        inputs[random.randrange(len(inputs))] = random.choice((*WILD, *range(tensors)))
    else:
        inputs = random.choice((inputs[:-1], [*inputs, random.randrange(tensors)], []))
    operator.inputs = inputs


def _operator_outputs(random: Random, model: Any) -> None:
    operator, tensors = random.choice(model.subgraphs[0].operators), len(model.subgraphs[0].tensors)
    operator.outputs = random.choice(([], [random.randrange(tensors)], [random.choice(WILD)], [0, tensors - 1]))


def _operator_kind(random: Random, model: Any) -> None:
    code = random.choice(model.operatorCodes)
    code.builtinCode = random.randrange(215)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = random.choice((1, 1, 2, 100))


def _operators(random: Random, model: Any) -> None:
    """Out of order, missing, twice, or without their options."""
    operators = model.subgraphs[0].operators
    kind = random.randrange(4)
    if kind == 0:
        random.shuffle(operators)
    elif kind == 1 and len(operators) > 1:
        del operators[random.randrange(len(operators))]
    elif kind == 2:
        operators.append(random.choice(operators))
    else:
        operator = random.choice(operators)
        operator.builtinOptions, operator.builtinOptionsType = None, 0


def _constant(random: Random, model: Any) -> None:
    """Other values, fewer of them, or bytes that stand outside the flatbuffer."""
    buffer = random.choice(model.buffers)
    if buffer.data is None or len(buffer.data) == 0:
        buffer.offset = random.choice((1, 2, 8, 1000, 2**32, 2**63))
        buffer.size = random.choice((1, 36, 2**32, 2**63))
        return
    content = bytearray(bytes(buffer.data))
    if random.random() < 0.3:
        content = content[: random.randrange(len(content))]
    else:
        for _ in range(random.choice((1, 4, 16))):
            content[random.randrange(len(content))] = random.randrange(256)
    buffer.data = np.frombuffer(bytes(content), np.uint8)


def _quantization(random: Random, model: Any) -> None:
    quantization, count = schema.QuantizationParametersT(), random.choice((0, 1, 2, 3, 100))
    quantization.scale = [
        random.choice((0.0, -1.0, 1e-38, 1e38, float("nan"), float("inf"), 0.1)) for _ in range(count)
    ]
    zero_points = random.choice((count, count, 0, 1))
    quantization.zeroPoint = [random.choice((0, -(2**63), 2**63 - 1, 127, -128)) for _ in range(zero_points)]
    quantization.quantizedDimension = random.choice(WILD)
    random.choice(model.subgraphs[0].tensors).quantization = quantization


def _ends(random: Random, model: Any) -> None:
    graph = model.subgraphs[0]
    chosen = random.choice(([], [random.choice(WILD)], [random.randrange(len(graph.tensors))], [0, 0]))
    setattr(graph, random.choice(("inputs", "outputs")), chosen)


def _subgraphs(random: Random, model: Any) -> None:
    model.subgraphs = random.choice(([], model.subgraphs * 2))
    if model.subgraphs == []:
        model.subgraphs = [schema.SubGraphT()]
        model.subgraphs[0].tensors, model.subgraphs[0].operators = [schema.TensorT()], [schema.OperatorT()]


GRAPH_CHANGES: tuple[Callable[[Random, Any], None], ...] = (
    *(_shape, _dtype, _tensor_buffer, _operator_inputs, _operator_outputs, _operator_kind, _operators, _constant),
    *(_quantization, _ends, _subgraphs),
)

SIGNED_AGAIN: tuple[Callable[[Random, TinyArtifact], bytes], ...] = (
    *(_bytes_signed, _graph_signed, _graph_signed, _card_signed, _bytes_signed, _graph_signed, _labels_signed),
    *(_graph_signed, _card_signed, _cut_signed),
)


# Of any form

UNUSUAL_COUNT = 1000


def unusual_file(number: int) -> tuple[bytes, str]:
    """A spoiled model of several subgraphs, of sparse weights or of other ends, and in which way."""
    random = Random(number)
    way = UNUSUAL_WAYS[number % len(UNUSUAL_WAYS)]
    return way(random, random.choice(sound_unusual_models())), way.__name__.strip("_")


@cache
def sound_unusual_models() -> tuple[bytes, ...]:
    """Each answers as the tiny network does; the last has more inputs, and is refused where one is wanted."""
    sparse = (unusual_models.sparse(), unusual_models.sparse("float16"))
    return (unusual_models.branching(), unusual_models.two_signatures(), *sparse, unusual_models.with_ends(3, 2))


def _unusual_flipped(random: Random, model: bytes) -> bytes:
    spoiled = bytearray(scrambled(random, model))
    spoiled[4:8] = b"TFL3"
    return bytes(spoiled)


def _unusual_graph(random: Random, model: bytes) -> bytes:
    """Changes of any subgraph, not of the first alone."""
    return _changed(random, model, (*GRAPH_CHANGES,))


def _unusual_calls(random: Random, model: bytes) -> bytes:
    """Calls of subgraphs that there are not, or of themselves; signatures and sparsity that lead elsewhere."""
    return _changed(random, model, (_called, _signed, _sparsity, _sparsity))


def _changed(random: Random, content: bytes, ways: tuple[Callable[[Random, Any], None], ...]) -> bytes:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    for _ in range(random.choice((1, 1, 2, 3))):
        place = random.randrange(len(model.subgraphs))
        model.subgraphs[0], model.subgraphs[place] = model.subgraphs[place], model.subgraphs[0]
        random.choice(ways)(random, model)
        place = min(place, len(model.subgraphs) - 1)
        model.subgraphs[0], model.subgraphs[place] = model.subgraphs[place], model.subgraphs[0]
    return unusual_models.packed(model)


def _called(random: Random, model: Any) -> None:
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            if isinstance(operator.builtinOptions, schema.IfOptionsT):
                branch = random.choice(("thenSubgraphIndex", "elseSubgraphIndex"))
                setattr(operator.builtinOptions, branch, random.choice((0, *WILD)))


def _signed(random: Random, model: Any) -> None:
    for signature in model.signatureDefs or []:
        signature.subgraphIndex = random.choice((0, 1, 2, 3, FOUR_GIGABYTES))
        for entry in random.choice((signature.inputs, signature.outputs)):
            entry.tensorIndex = random.choice((0, 1, 6, 7, 13, 14, FOUR_GIGABYTES))


def _sparsity(random: Random, model: Any) -> None:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.sparsity is not None:
                kind = random.randrange(4)
                table = random.choice(tensor.sparsity.dimMetadata)
                if kind == 0:
                    tensor.sparsity.traversalOrder = random.choice(([], [1, 0], [0, 1, 2], [random.choice(WILD)] * 2))
                elif kind == 1:
                    tensor.sparsity.blockMap = [random.choice(WILD)]
                elif kind == 2:
                    table.format, table.denseSize = random.randrange(3), random.choice(WILD)
                elif table.arraySegments is not None:
                    array = random.choice((table.arraySegments, table.arrayIndices))
                    array.values = [random.choice(WILD) for _ in range(random.choice((0, 1, 3, 4, 100)))]


UNUSUAL_WAYS: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(_unusual_flipped, _unusual_graph, _unusual_calls, _unusual_graph, _unusual_calls),
)


# Of somebody else


def _foreign_flipped(random: Random, model: ForeignModel) -> bytes:
    spoiled = bytearray(scrambled(random, with_tail(model.flatbuffer(), list(model.files.items()))))
    spoiled[4:8] = b"TFL3"
    return bytes(spoiled)


def _foreign_cut(random: Random, model: ForeignModel) -> bytes:
    content = with_tail(model.flatbuffer(), list(model.files.items()))
    return content[: random.randrange(8, len(content))]


def _foreign_graph(random: Random, model: ForeignModel) -> bytes:
    return with_tail(changed_graph(random, model.flatbuffer()), list(model.files.items()))


def _foreign_metadata(random: Random, model: ForeignModel) -> bytes:
    """Metadata with wrong offsets and lengths in a sound model."""
    sound = model.metadata if isinstance(model.metadata, bytes) else metadata_bytes(model.metadata or {})
    spoiled = replace(model, metadata=scrambled(random, sound))
    return with_tail(spoiled.flatbuffer(), list(model.files.items()))


def _foreign_says(random: Random, model: ForeignModel) -> bytes:
    """Sound metadata that say what cannot be."""
    wild = random.choice((0.0, -1.0, 1e-38, 1e38, float("nan"), float("inf")))
    numbers = (wild,) * random.choice((1, 2, 3, 100_000))
    size = random.choice(((1, 1), (8, 8), (4096, 4096), (2**32 - 1, 1), (1, 2**31)))
    said = metadata(random.choice((numbers, (127.5,))), random.choice((numbers, (1.0,))), ("labels.txt",) * 9, size)
    files = {"labels.txt": random.choice((b"", b"\n", b"a\n" * 10**5, b"0 a\n" * 3, b"\xff\xfe", b"n" * 10**6))}
    return with_tail(replace(model, metadata=said).flatbuffer(), list(random.choice((files, model.files)).items()))


FOREIGN_WAYS: tuple[Callable[[Random, ForeignModel], bytes], ...] = (
    *(_foreign_flipped, _foreign_cut, _foreign_graph, _foreign_metadata, _foreign_says),
)
