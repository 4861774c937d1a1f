"""TFLite Metadata: what a model without a card says of its input and its labels.

The metadata are a flatbuffer in a buffer of the model's own (`metadata_schema.fbs`, identifier M001); label files are
in a zip that is appended to the model. Field numbers are those of the schema. The depth is fixed and every offset is
checked, so that no file, however made, is followed in circles or out of its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime._flatbuffer import Reader
from edge_runtime._graph_check import BUFFER_DATA, MODEL_BUFFERS

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
IMAGE_COLOUR, IMAGE_SIZE = 0, 1
GREY = 2
SIZE_WIDTH, SIZE_HEIGHT = 0, 1
UNIT_KIND, UNIT = 0, 1
NORMALIZATION = 1
NORMALIZATION_MEAN, NORMALIZATION_STD = 0, 1
FILE_NAME, FILE_KIND, FILE_LOCALE = 0, 2, 3
AXIS_LABELS = 2


@dataclass(frozen=True)
class Metadata:
    """What the metadata say, where they say it.

    Attributes:
        is_image: whether the input is called an image; `is_grey`, one of a single channel.
        mean, std: of `NormalizationOptions`, one number or one for each channel; empty if there are none.
        size: default height and width.
        label_file: name of the file in the zip that has the labels.
    """

    is_image: bool = False
    is_grey: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: tuple[int, int] | None = None
    label_file: str | None = None


def find_metadata(model: Reader, content: memoryview) -> Metadata | None:
    """Return the metadata of a model, of which `content` are the bytes; None if it has none.

    Raises:
        ValueError: they are damaged.
    """
    for entry in model.tables(model.root, MODEL_METADATA):
        if model.text(entry, ENTRY_NAME) == NAME:
            buffers = model.tables(model.root, MODEL_BUFFERS)
            number = model.number(entry, ENTRY_BUFFER, "<I")
            if number >= len(buffers):
                raise ValueError(f"its metadata are in buffer {number} of {len(buffers)}")
            start, length = model.vector(buffers[number], BUFFER_DATA)
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
    is_image, is_grey, size = _image(reader, inputs[0]) if inputs else (False, False, None)
    mean, std = _normalization(reader, inputs[0]) if inputs else ((), ())
    return Metadata(is_image, is_grey, mean, std, size, _label_file(reader, outputs[0]) if outputs else None)


def _image(reader: Reader, tensor: int) -> tuple[bool, bool, tuple[int, int] | None]:
    """Return whether a tensor is an image, whether it is grey, and its default height and width."""
    content = reader.table(tensor, TENSOR_CONTENT)
    if content is None or reader.number(content, CONTENT_KIND, "<B") != IMAGE:
        return False, False, None
    image = reader.table(content, CONTENT)
    if image is None:
        return True, False, None
    size = reader.table(image, IMAGE_SIZE)
    sides = (0, 0) if size is None else tuple(reader.number(size, side, "<I") for side in (SIZE_HEIGHT, SIZE_WIDTH))
    return True, reader.number(image, IMAGE_COLOUR, "<b") == GREY, (sides[0], sides[1]) if all(sides) else None


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
