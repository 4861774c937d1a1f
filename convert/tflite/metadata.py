"""TensorFlow Lite Metadata (`metadata_schema.fbs`, identifier M001), for MediaPipe and the Android Task Library.

Limited to what an image classifier needs: tensor names, the normalization of the input, the label file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import flatbuffers

from edge_runtime import Card
from edge_runtime.artifact import LABELS_NAME

METADATA_NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
MINIMUM_PARSER_VERSION = "1.0.0"
TENSOR_AXIS_LABELS = 2  # AssociatedFileType
IMAGE_PROPERTIES = 2  # ContentProperties
NORMALIZATION_OPTIONS = 1  # ProcessUnitOptions
RGB, UNKNOWN_COLOR = 1, 0  # ColorSpaceType


@dataclass(frozen=True)
class Byte:
    """A one-byte scalar field: an enum or the type of a union."""

    value: int


@dataclass(frozen=True)
class UInt:
    """An unsigned 32-bit scalar field."""

    value: int


Field: TypeAlias = "str | Byte | UInt | list[Table] | tuple[float, ...] | Table"


class Table:
    """A table of the schema: its fields by number, vectors of tables as lists and vectors of floats as tuples."""

    def __init__(self, fields: dict[int, Field]) -> None:
        self.fields = fields

    def write(self, builder: flatbuffers.Builder) -> int:
        """Write the table after everything it refers to, and return its offset."""
        offsets = {number: _write_offset(builder, field) for number, field in self.fields.items()}
        builder.StartObject(max(self.fields) + 1)
        for number, field in self.fields.items():
            if isinstance(field, Byte):
                builder.PrependUint8Slot(number, field.value, 0)
            elif isinstance(field, UInt):
                builder.PrependUint32Slot(number, field.value, 0)
            else:
                builder.PrependUOffsetTRelativeSlot(number, offsets[number], 0)
        return int(builder.EndObject())


def classifier_metadata(card: Card) -> bytes:
    """Return the metadata flatbuffer of the artifact that `card` describes."""
    model = Table(
        {
            0: card.name,
            1: f"{card.architecture}, {card.scheme}",
            3: [Table({2: [_image_tensor(card)], 3: [_probabilities_tensor(card)]})],
            7: MINIMUM_PARSER_VERSION,
        }
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.write(builder), IDENTIFIER)
    return bytes(builder.Output())


def _image_tensor(card: Card) -> Table:
    spec = card.preprocessing
    size = Table({0: UInt(spec.width), 1: UInt(spec.height)})
    color = RGB if spec.channel_order == "RGB" else UNKNOWN_COLOR
    low = tuple((0 - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True))
    high = tuple((255 - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True))
    normalization = Table({0: _shortest(spec.mean), 1: _shortest(spec.std)})
    return Table(
        {
            0: card.input.name,
            1: f"{spec.channel_order} image of {spec.width}x{spec.height} pixels",
            3: Table({0: Byte(IMAGE_PROPERTIES), 1: Table({0: Byte(color), 1: size})}),
            4: [Table({0: Byte(NORMALIZATION_OPTIONS), 1: normalization})],
            5: Table({0: _shortest(high), 1: _shortest(low)}),
        }
    )


def _probabilities_tensor(card: Card) -> Table:
    labels = Table({0: LABELS_NAME, 1: "one label for each class", 2: Byte(TENSOR_AXIS_LABELS)})
    return Table({0: card.output.name, 1: "probability of each class", 5: Table({0: (1.0,), 1: (0.0,)}), 6: [labels]})


def _shortest(values: Sequence[float]) -> tuple[float, ...]:
    """Return one value for all channels when they are equal, as readers expect."""
    return (values[0],) if len(set(values)) == 1 else tuple(values)


def _write_offset(builder: flatbuffers.Builder, field: Field) -> int:
    if isinstance(field, str):
        return int(builder.CreateString(field))
    if isinstance(field, Table):
        return field.write(builder)
    if isinstance(field, list):
        return _write_vector(builder, [table.write(builder) for table in field], builder.PrependUOffsetTRelative)
    if isinstance(field, tuple):
        return _write_vector(builder, field, builder.PrependFloat32)
    return 0


def _write_vector(builder: flatbuffers.Builder, elements: Sequence[float], prepend: Callable[[Any], None]) -> int:
    """Write a vector of 4-byte elements, from the last to the first, and return its offset."""
    builder.StartVector(4, len(elements), 4)
    for element in reversed(elements):
        prepend(element)
    return int(builder.EndVector())
