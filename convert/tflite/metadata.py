"""TensorFlow Lite Metadata (`metadata_schema.fbs`, identifier M001), for MediaPipe and the Android Task Library.

Limited to what an image classifier needs: tensor names, the normalization of the input, the label file. The schema has
no word for the shape of pictures, and these readers stretch them: `stretched_by_others`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import flatbuffers
import numpy as np

from edge_runtime import Card, InputSpec
from edge_runtime.artifact import LABELS_NAME
from edge_runtime.conventions import fit_text
from edge_runtime.geometry import PAD, STRETCH
from edge_runtime.specs import INDEPENDENT, SOFTMAX

METADATA_NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
MINIMUM_PARSER_VERSION = "1.0.0"
TENSOR_AXIS_LABELS = np.uint8(2)  # AssociatedFileType
IMAGE_PROPERTIES = np.uint8(2)  # ContentProperties
NORMALIZATION_OPTIONS = np.uint8(1)  # ProcessUnitOptions
COLORS, UNKNOWN_COLOR = {"RGB": np.uint8(1), "grey": np.uint8(2)}, np.uint8(0)  # ColorSpaceType

SCORES = {SOFTMAX: "probability of each class", INDEPENDENT: "probability of each label, independent of the others"}
"""Head -> what the output holds."""

Field: TypeAlias = "str | np.uint8 | np.uint32 | list[Table] | tuple[float, ...] | Table"
Table: TypeAlias = "Mapping[int, Field]"
"""A table of the schema: its fields by number; lists are vectors of tables, tuples are vectors of floats."""


def classifier_metadata(card: Card) -> bytes:
    """Return the metadata flatbuffer of the artifact that `card` describes."""
    model: Table = {
        0: card.name,
        1: f"{card.architecture}, {card.scheme}",
        3: [{2: [_image_tensor(card)], 3: [_probabilities_tensor(card)]}],
        7: MINIMUM_PARSER_VERSION,
    }
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write_table(builder, model), IDENTIFIER)
    return bytes(builder.Output())


def stretched_by_others(spec: InputSpec) -> str | None:
    """Return what to tell of readers that know TFLite Metadata only; None if they fit pictures as the card says."""
    if spec.fit == STRETCH and spec.crop_fraction == 1:
        return None
    how = "pad them" if spec.fit == PAD else "cut them"
    return (
        f"the card fits pictures to the network ({fit_text(spec) or spec.geometry}); MediaPipe and the TFLite Task "
        f"Library read no card and stretch them: {how} first there"
    )


def _image_tensor(card: Card) -> Table:
    spec = card.preprocessing
    order = "grey" if spec.channels == 1 else spec.channel_order
    fitted_by = f", fitted by {spec.geometry}" if stretched_by_others(spec) else ""
    color = COLORS.get(order, UNKNOWN_COLOR)
    low = tuple((0 - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True))
    high = tuple((255 - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True))
    return {
        0: card.input.name,
        1: f"{order} image of {spec.width}x{spec.height} pixels{fitted_by}",
        3: {0: IMAGE_PROPERTIES, 1: {0: color, 1: {0: np.uint32(spec.width), 1: np.uint32(spec.height)}}},
        4: [{0: NORMALIZATION_OPTIONS, 1: {0: _shortest(spec.mean), 1: _shortest(spec.std)}}],
        5: {0: _shortest(high), 1: _shortest(low)},
    }


def _probabilities_tensor(card: Card) -> Table:
    labels: Table = {0: LABELS_NAME, 1: "one label for each class", 2: TENSOR_AXIS_LABELS}
    return {0: card.output.name, 1: SCORES[card.head], 5: {0: (1.0,), 1: (0.0,)}, 6: [labels]}


def _shortest(values: Sequence[float]) -> tuple[float, ...]:
    """Return one value for all channels when they are equal, as readers expect."""
    return (values[0],) if len(set(values)) == 1 else tuple(values)


def _write_table(builder: flatbuffers.Builder, table: Table) -> int:
    """Write a table after everything it refers to, and return its offset."""
    offsets = {number: _write_offset(builder, field) for number, field in table.items()}
    builder.StartObject(max(table) + 1)
    for number, field in table.items():
        if isinstance(field, np.uint8):
            builder.PrependUint8Slot(number, int(field), 0)
        elif isinstance(field, np.uint32):
            builder.PrependUint32Slot(number, int(field), 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, offsets[number], 0)
    return int(builder.EndObject())


def _write_offset(builder: flatbuffers.Builder, field: Field) -> int:
    """Write a field that its table only refers to, and return its offset; 0 for a scalar."""
    if isinstance(field, str):
        return int(builder.CreateString(field))
    if isinstance(field, Mapping):
        return _write_table(builder, field)
    if isinstance(field, list):
        return _write_vector(
            builder, [_write_table(builder, table) for table in field], builder.PrependUOffsetTRelative
        )
    if isinstance(field, tuple):
        return _write_vector(builder, field, builder.PrependFloat32)
    return 0


def _write_vector(builder: flatbuffers.Builder, elements: Sequence[float], prepend: Callable[[Any], None]) -> int:
    """Write a vector of 4-byte elements, from the last to the first, and return its offset."""
    builder.StartVector(4, len(elements), 4)
    for element in reversed(elements):
        prepend(element)
    return int(builder.EndVector())
