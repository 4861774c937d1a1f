"""TFLite Metadata, read back by a walk through the flatbuffer that shares no code with the writer."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import pytest

from convert.tflite.metadata import classifier_metadata, stretched_by_others
from edge_runtime import Card, InputSpec
from tests.edge_runtime.tiny_model import tiny_artifact


@dataclass(frozen=True)
class Walk:
    """A table at a place in a flatbuffer; its fields by number (flatbuffers.dev, "FlatBuffer Internals")."""

    data: bytes
    at: int

    def _unsigned(self, at: int) -> int:
        return int(struct.unpack_from("<I", self.data, at)[0])

    def _field(self, number: int) -> int | None:
        vtable = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        if 4 + 2 * number >= struct.unpack_from("<H", self.data, vtable)[0]:
            return None
        offset = struct.unpack_from("<H", self.data, vtable + 4 + 2 * number)[0]
        return self.at + offset if offset else None

    def _target(self, number: int) -> int:
        at = self._field(number)
        assert at is not None, f"field {number} is missing"
        return at + self._unsigned(at)

    def byte(self, number: int) -> int:
        at = self._field(number)
        return 0 if at is None else self.data[at]

    def unsigned(self, number: int) -> int:
        at = self._field(number)
        return 0 if at is None else self._unsigned(at)

    def table(self, number: int) -> Walk:
        return Walk(self.data, self._target(number))

    def text(self, number: int) -> str:
        at = self._target(number)
        return self.data[at + 4 : at + 4 + self._unsigned(at)].decode()

    def tables(self, number: int) -> list[Walk]:
        at = self._target(number)
        places = [at + 4 + 4 * i for i in range(self._unsigned(at))]
        return [Walk(self.data, place + self._unsigned(place)) for place in places]

    def floats(self, number: int) -> list[float]:
        at = self._target(number)
        assert (at + 4) % 4 == 0, "readers take aligned floats for granted"
        return list(struct.unpack_from(f"<{self._unsigned(at)}f", self.data, at + 4))


def card(**preprocessing: object) -> Card:
    """Return the tiny artifact's card, with 30x40 images."""
    values = {"height": 30, "width": 40, "mean": (127.5,) * 3, "std": (128.0,) * 3, **preprocessing}
    return replace(tiny_artifact().card, name="Käfer", preprocessing=InputSpec(**values))  # type: ignore[arg-type]


def root(described: Card) -> Walk:
    data = classifier_metadata(described)
    return Walk(data, struct.unpack_from("<I", data)[0])


def ends(described: Card) -> tuple[Walk, Walk]:
    """Return the TensorMetadata of the input and of the output."""
    (subgraph,) = root(described).tables(3)
    (image,), (probabilities,) = subgraph.tables(2), subgraph.tables(3)
    return image, probabilities


def test_the_identifier_and_the_parser_version_are_the_schemas() -> None:
    assert classifier_metadata(card())[4:8] == b"M001"
    assert root(card()).text(7) == "1.0.0"


def test_the_model_is_described() -> None:
    assert root(card()).text(0) == "Käfer"
    assert root(card()).text(1) == "mean colour, none"


def test_tensors_have_the_signatures_names() -> None:
    image, probabilities = ends(card())
    assert image.text(0) == "image"
    assert probabilities.text(0) == "probabilities"


def test_the_input_is_an_image_of_a_size() -> None:
    content = ends(card())[0].table(3)
    assert content.byte(0) == 2, "ContentProperties.ImageProperties"
    image = content.table(1)
    assert image.byte(0) == 1, "ColorSpaceType.RGB"
    assert (image.table(1).unsigned(0), image.table(1).unsigned(1)) == (40, 30), "width before height"


def test_other_orders_of_channels_do_not_claim_to_be_rgb() -> None:
    image = ends(card(channel_order="BGR"))[0].table(3).table(1)
    assert image.byte(0) == 0, "ColorSpaceType.UNKNOWN"
    assert ends(card(channel_order="BGR"))[0].text(1).startswith("BGR")


def test_grey_is_grayscale() -> None:
    tensor = ends(card(channels=1, mean=(127.5,), std=(128.0,)))[0]
    assert tensor.table(3).table(1).byte(0) == 2, "ColorSpaceType.GRAYSCALE"
    assert tensor.text(1) == "grey image of 40x30 pixels"
    assert tensor.tables(4)[0].table(1).floats(0) == [127.5]


def test_one_mean_and_std_where_all_channels_are_alike() -> None:
    (unit,) = ends(card())[0].tables(4)
    assert unit.byte(0) == 1, "ProcessUnitOptions.NormalizationOptions"
    assert unit.table(1).floats(0) == [127.5]
    assert unit.table(1).floats(1) == [128.0]


def test_a_mean_and_std_a_channel_in_the_order_of_the_tensor() -> None:
    (unit,) = ends(card(mean=(1, 2, 3), std=(4, 5, 8)))[0].tables(4)
    assert unit.table(1).floats(0) == [1, 2, 3]
    assert unit.table(1).floats(1) == [4, 5, 8]


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"),
    [
        ((127.5,) * 3, (127.5,) * 3, [-1], [1]),
        ((0,) * 3, (1,) * 3, [0], [255]),
        ((0, 51, 102), (255, 51, 51), [0, -1, -2], [1, 4, 3]),
    ],
)
def test_the_range_of_a_normalized_image(
    mean: tuple[float, ...], std: tuple[float, ...], low: list[float], high: list[float]
) -> None:
    stats = ends(card(mean=mean, std=std))[0].table(5)
    assert stats.floats(0) == pytest.approx(high), "field 0 of Stats is the maximum"
    assert stats.floats(1) == pytest.approx(low)


def test_the_output_names_its_label_file() -> None:
    probabilities = ends(card())[1]
    (labels,) = probabilities.tables(6)
    assert labels.text(0) == "labels.txt"
    assert labels.byte(2) == 2, "AssociatedFileType.TENSOR_AXIS_LABELS"
    assert probabilities.table(5).floats(0) == [1]
    assert probabilities.table(5).floats(1) == [0]


def test_the_same_card_gives_the_same_bytes() -> None:
    assert classifier_metadata(card()) == classifier_metadata(card())


def test_a_geometry_that_other_readers_do_not_know_is_in_the_description() -> None:
    card = replace(tiny_artifact().card, preprocessing=InputSpec(30, 40, (0,) * 3, (1,) * 3, fit="pad", pad_color=(9,)))
    said = stretched_by_others(card.preprocessing)
    assert said is not None
    assert "(pad:9); MediaPipe and the TFLite Task Library read no card and stretch them: pad them first" in said
    assert b"RGB image of 40x30 pixels, fitted by pad 9" in classifier_metadata(card)
    assert stretched_by_others(InputSpec(30, 40, (0,) * 3, (1,) * 3)) is None
    assert stretched_by_others(InputSpec(30, 40, (0,) * 3, (1,) * 3, crop_fraction=0.875)) is not None
