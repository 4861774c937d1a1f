"""What the bytes of a model without a card say is read, or refused by name."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime import ArtifactError, Classifier, EdgeError, InputSpec
from edge_runtime.foreign.reading import read_foreign, read_metadata
from edge_runtime.preprocess import Pixels
from tests.edge_runtime.foreign_models import (
    LABEL_FILE,
    ForeignModel,
    answer,
    metadata,
    metadata_bytes,
)
from tests.edge_runtime.tiny_model import SIZE, SPEC, expected_probabilities


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 3, 8, 8), r"takes \(1, 3, 8, 8\): it takes channels first \(NCHW\): export it with channels last"),
        ((8, 8, 8, 3), r"takes \(8, 8, 8, 3\): it takes 8 images at once: export it with a batch of 1"),
        ((1, 8, 8, 4), r"takes \(1, 8, 8, 4\): it takes 4 channels"),
        ((1, 28, 28), r"takes \(1, 28, 28\): it has 3 axes"),
        ((), r"takes \(\): it has 0 axes"),
    ],
)
@pytest.mark.parametrize("spec", [None, SPEC])
def test_inputs_that_are_no_single_image_are_refused_by_name(
    shape: tuple[int, ...], said: str, spec: InputSpec | None, save: Callable[[ForeignModel], Path]
) -> None:
    with pytest.raises(ArtifactError, match=rf"foreign\.tflite {said}"):
        Classifier.open(save(ForeignModel(shape=shape)), spec=spec)


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ((1, 3, -1, -1), r"takes \(1, 3, any, any\): it takes channels first \(NCHW\)"),
        ((1, -1, -1, -1), r"takes \(1, any, any, any\): it takes any channels, and an image classifier takes"),
    ],
)
def test_a_placeholder_is_no_number_of_channels(
    signature: tuple[int, ...], said: str, save: Callable[[ForeignModel], Path]
) -> None:
    shape = tuple(max(side, 1) for side in signature)
    with pytest.raises(ArtifactError, match=said):
        Classifier.open(save(ForeignModel(shape=shape, signature=signature)), spec=SPEC)


def test_an_open_batch_is_a_batch_of_one(save: Callable[[ForeignModel], Path], noise: Pixels) -> None:
    path = save(ForeignModel(shape=(4, SIZE, SIZE, 3), signature=(-1, SIZE, SIZE, 3)))
    assert answer(path, noise, SPEC) == pytest.approx(expected_probabilities(noise), abs=1e-6)
    assert read_foreign(path).spec("tf").height == SIZE, "its size is not open"
    with pytest.raises(ArtifactError, match=r"--input-size 9x9 does not fit .*: it takes 8x8 alone"):
        read_foreign(path).spec("tf", (9, 9))


@pytest.mark.parametrize("value", [0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF])
def test_any_word_of_the_metadata_may_be_wrong(value: int) -> None:
    """Offsets that lead out of the bytes or in circles, and vectors of any length."""
    sound = metadata_bytes(metadata(size=(8, 8)))
    for at in range(0, len(sound) - 3, 2):
        content = bytearray(sound)
        struct.pack_into("<I", content, at, value)
        with suppress(ValueError):
            read_metadata(bytes(content))


@pytest.mark.parametrize("length", range(0, 300, 7))
def test_metadata_may_end_anywhere(length: int) -> None:
    with suppress(ValueError):
        read_metadata(metadata_bytes(metadata())[:length])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_foreign_file_is_described_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(ForeignModel(metadata=metadata(size=(8, 8)), files=LABEL_FILE).flatbuffer())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 4))
        content[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    path = tmp_path / "hostile.tflite"
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    with suppress(EdgeError):
        file = read_foreign(path)
        file.spec()
        file.labels()
