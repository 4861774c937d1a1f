"""Reads what the bytes of a model without a card say, in its graph and in its TFLite Metadata (`metadata_schema.fbs`).

Every offset is checked and the depth is fixed, so that no file is followed in circles or out of its bytes.
"""

from __future__ import annotations

import os
from dataclasses import replace
from math import prod
from pathlib import Path

from edge_runtime import _graph_check as schema
from edge_runtime import specs
from edge_runtime._flatbuffer import Reader
from edge_runtime._mmap import content_of
from edge_runtime.errors import ArtifactError
from edge_runtime.foreign.file import ANY, INDEPENDENT, PROBABILITIES, UNKNOWN, ForeignFile, Metadata, shown, sides_of

NAME = b"TFLITE_METADATA"
IDENTIFIER = b"M001"
MAX_BYTES = 8 * 2**20

MODEL_METADATA = 6
ENTRY_NAME, ENTRY_BUFFER = 0, 1

SUBGRAPHS = 3
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = 2, 3
TENSOR_CONTENT, TENSOR_PROCESS_UNITS, TENSOR_FILES = 3, 4, 6
CONTENT_KIND, CONTENT = 0, 1
IMAGE = 2
IMAGE_SIZE = 1
SIZE_WIDTH, SIZE_HEIGHT = 0, 1
UNIT_KIND, UNIT = 0, 1
NORMALIZATION = 1
NORMALIZATION_MEAN, NORMALIZATION_STD = 0, 1
FILE_NAME, FILE_KIND, FILE_LOCALE = 0, 2, 3
AXIS_LABELS = 2

QUANTIZATION_ZERO_POINT, TENSOR_SIGNATURE = 3, 7
SOFTMAX, LOGISTIC = 25, 14
PASSED_OVER = {6, 22, 43, 70, 114}
"""DEQUANTIZE, RESHAPE, SQUEEZE, EXPAND_DIMS and QUANTIZE, which change no score."""


def read_foreign(path: str | os.PathLike[str], with_metadata: bool = True) -> ForeignFile:
    """Read what a `.tflite` file says of itself, without an interpreter.

    Raises:
        ArtifactError: it is damaged, or cannot be fed one image at a time.
    """
    try:
        with content_of(path) as content:
            reader = Reader(content)
            metadata = find_metadata(reader, content) if with_metadata else None
            graph = reader.tables(reader.root, schema.MODEL_SUBGRAPHS)[0]
            return _described(Path(path), reader, graph, metadata)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    except (IndexError, ValueError, OverflowError) as error:
        raise ArtifactError(
            f"{os.fspath(path)} is damaged, what it says of itself does not hold together: {error}; copy it again, "
            "from a source you trust"
        ) from error


def _described(path: Path, reader: Reader, graph: int, metadata: Metadata | None) -> ForeignFile:
    inputs = reader.numbers(graph, schema.GRAPH_INPUTS, "i")
    file = ForeignFile(path, _answers(reader, graph), _score_count(reader, graph), metadata, len(inputs))
    if len(inputs) != 1:
        return file
    tensor = _tensor(reader, graph, inputs[0])
    shape = reader.numbers(tensor, schema.TENSOR_SHAPE, "i")
    taken = _taken(shape, reader.numbers(tensor, TENSOR_SIGNATURE, "i"))
    _refuse_layout(path, taken)
    quantization = reader.table(tensor, schema.TENSOR_QUANTIZATION)
    scales = () if quantization is None else reader.numbers(quantization, schema.QUANTIZATION_SCALE, "f")
    zeros = () if quantization is None else reader.numbers(quantization, QUANTIZATION_ZERO_POINT, "q")
    kind = reader.number(tensor, schema.TENSOR_TYPE, "<b")
    return replace(
        file,
        shape=taken,
        is_resized=taken != shape,
        is_narrow=kind in (schema.UINT8, schema.INT8),
        scale=scales[0] if scales and scales[0] > 0 else None,
        zero_point=(zeros[0] if zeros else 0) + (128 if kind == schema.INT8 else 0),
    )


def _taken(shape: tuple[int, ...], signature: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an image that an input takes, with `ANY` for open sides; an open batch is one image.

    Converters write 1 for what is open, some of them without a signature.
    """
    if len(shape) != 4:
        return shape
    batch, *sides, channels = signature if len(signature) == 4 else shape
    if sides == [1, 1]:
        sides = [ANY, ANY]
    return 1 if batch < 0 else batch, *(max(side, ANY) for side in sides), channels


def _score_count(reader: Reader, graph: int) -> int:
    """Return how many numbers the first output has, open axes counted as one; 0 without an output."""
    outputs = reader.numbers(graph, schema.GRAPH_OUTPUTS, "i")
    if not outputs:
        return 0
    shape = reader.numbers(_tensor(reader, graph, outputs[0]), schema.TENSOR_SHAPE, "i")
    return prod(max(side, 1) for side in shape)


def _tensor(reader: Reader, graph: int, index: int) -> int:
    """Return the table of a tensor; Python would count a negative index from the end."""
    tensors = reader.tables(graph, schema.GRAPH_TENSORS)
    if not 0 <= index < len(tensors):
        raise ValueError(f"tensor {index} of {len(tensors)} does not exist")
    return tensors[index]


def _refuse_layout(path: Path, shape: tuple[int, ...]) -> None:
    """Raise `ArtifactError` if an input of this shape is not one RGB or grey image, channels last."""
    if len(shape) == 4 and shape[0] == 1 and shape[3] in specs.CHANNELS and not (shape[1] == 3 and shape[2] > 3):
        return
    wants = "an image classifier takes (1, height, width, 3), or 1 for grey images"
    if len(shape) != 4:
        reason = f"it has {len(shape)} axes, and {wants}: export it with an axis of three channels"
    elif shape[0] != 1:
        reason = f"it takes {shape[0]} images at once: export it with a batch of 1"
    elif shape[1] in (1, 3) and shape[3] not in (1, 3):
        reason = "it takes channels first (NCHW): export it with channels last, as onnx2tf does"
    else:
        reason = f"it takes {sides_of(shape[3:])} channels, and {wants}"
    raise ArtifactError(f"{path} takes {shown(shape)}: {reason}")


def _answers(reader: Reader, graph: int) -> str:
    """Return what the operator that makes the output says of it, behind those that change no score."""
    codes = [schema.operator_code(reader, table) for table in reader.tables(reader.root, schema.MODEL_CODES)]
    producer = {}
    for table in reader.tables(graph, schema.GRAPH_OPERATORS):
        code = codes[reader.number(table, schema.OPERATOR_CODE, "<I")]
        read = reader.numbers(table, schema.OPERATOR_INPUTS, "i")
        for tensor in reader.numbers(table, schema.OPERATOR_OUTPUTS, "i"):
            producer[tensor] = (code, read[0] if read else -1)
    (tensor, *_) = (*reader.numbers(graph, schema.GRAPH_OUTPUTS, "i"), -1)
    for _ in range(len(producer)):
        code, before = producer.get(tensor, (-1, -1))
        if code not in PASSED_OVER:
            return {SOFTMAX: PROBABILITIES, LOGISTIC: INDEPENDENT}.get(code, UNKNOWN)
        tensor = before
    return UNKNOWN


def find_metadata(model: Reader, content: memoryview) -> Metadata | None:
    """Return the metadata of a model, of which `content` are the bytes; None if it has none.

    Raises:
        ValueError: they are damaged.
    """
    for entry in model.tables(model.root, MODEL_METADATA):
        if model.text(entry, ENTRY_NAME) == NAME:
            buffers = model.tables(model.root, schema.MODEL_BUFFERS)
            number = model.number(entry, ENTRY_BUFFER, "<I")
            if number >= len(buffers):
                raise ValueError(f"its metadata are in buffer {number} of {len(buffers)}")
            start, length = model.vector(buffers[number], schema.BUFFER_DATA)
            if length > MAX_BYTES or start + length > len(content):
                raise ValueError(f"its metadata claim {length:,} bytes")
            return read_metadata(bytes(content[start : start + length]))
    return None


def read_metadata(data: bytes) -> Metadata:
    """Return what a metadata flatbuffer says of the first input and the first output; raise `ValueError` if damaged."""
    if data[4:8] != IDENTIFIER:
        raise ValueError(f"its metadata are marked {data[4:8]!r}, not {IDENTIFIER!r}")
    reader = Reader(memoryview(data))
    graphs = reader.tables(reader.root, SUBGRAPHS)
    if not graphs:
        return Metadata()
    inputs, outputs = (reader.tables(graphs[0], field) for field in (SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS))
    is_image, size = _image(reader, inputs[0]) if inputs else (False, None)
    mean, std = _normalization(reader, inputs[0]) if inputs else ((), ())
    return Metadata(is_image, mean, std, size, _label_file(reader, outputs[0]) if outputs else None)


def _image(reader: Reader, tensor: int) -> tuple[bool, tuple[int, int] | None]:
    """Return whether a tensor is an image, and its default height and width."""
    content = reader.table(tensor, TENSOR_CONTENT)
    if content is None or reader.number(content, CONTENT_KIND, "<B") != IMAGE:
        return False, None
    image = reader.table(content, CONTENT)
    size = None if image is None else reader.table(image, IMAGE_SIZE)
    if size is None:
        return True, None
    height, width = (reader.number(size, side, "<I") for side in (SIZE_HEIGHT, SIZE_WIDTH))
    return True, (height, width) if height and width else None


def _normalization(reader: Reader, tensor: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for unit in reader.tables(tensor, TENSOR_PROCESS_UNITS):
        options = reader.table(unit, UNIT)
        if options is not None and reader.number(unit, UNIT_KIND, "<B") == NORMALIZATION:
            return reader.numbers(options, NORMALIZATION_MEAN, "f"), reader.numbers(options, NORMALIZATION_STD, "f")
    return (), ()


def _label_file(reader: Reader, tensor: int) -> str | None:
    """Return the name of the file with the labels: the one without a locale, or else the first."""
    files = [
        (reader.text(file, FILE_LOCALE) != b"", reader.text(file, FILE_NAME).decode(errors="replace"))
        for file in reader.tables(tensor, TENSOR_FILES)
        if reader.number(file, FILE_KIND, "<b") == AXIS_LABELS
    ]
    return min(files, key=lambda file: file[0])[1] if files else None
