"""What is packed comes back equal in type and in every bit, as plain files that others read, too."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from convert.cache.codec import pack, unpack
from convert.drift.predictions import Predictions
from tests.convert.cache.test_stages import assert_equal

HERE, THERE = Path("/images/here"), Path("/images/there")
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | arrays.arrays(st.sampled_from([np.float32, np.float64, np.uint8, np.int64]), arrays.array_shapes(min_side=0))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def there_and_back(value: Any, before: Path = HERE, after: Path = HERE) -> Any:
    return unpack(pack(value, before), after)


@given(value=VALUES)
def test_every_value_comes_back(value: Any) -> None:
    assert_equal(there_and_back(value), value)


@pytest.mark.parametrize("value", [math.inf, -0.0, 5e-324, 0.1 + 0.2])
def test_numbers_come_back_in_every_bit(value: float) -> None:
    assert math.copysign(1, there_and_back(value)) == math.copysign(1, value)
    assert there_and_back(value) == value


def test_files_lie_where_the_folder_is_now() -> None:
    rows = np.zeros((1, 2), np.float32)
    predictions = Predictions((HERE / "a.png",), rows, ("a", "b"), (f"{HERE}/b.png is broken",), 0.0)
    moved = there_and_back(predictions, HERE, THERE)
    assert (moved.paths, moved.skipped) == ((THERE / "a.png",), (f"{THERE}/b.png is broken",))


@pytest.mark.parametrize("folder", [Path("."), Path("images"), Path("/")])
def test_a_relative_folder_is_no_word_of_a_text(folder: Path) -> None:
    rows = np.zeros((1, 2), np.float32)
    predictions = Predictions((folder / "a.png",), rows, ("v1.0", "images of cats"), (), 0.0)
    moved = there_and_back(predictions, folder, THERE)
    assert (moved.paths, moved.labels) == ((THERE / "a.png",), predictions.labels)


def test_its_files_are_arrays_and_flatbuffers_as_they_are() -> None:
    one, two = np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([7], np.uint8)
    files = pack(([one, two], b"TFL3", "text"), HERE)
    assert set(files) == {"uint8.npy", "result.tflite", "result.json"}
    assert np.load(io.BytesIO(files["uint8.npy"])).tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert files["result.tflite"] == b"TFL3"
    assert "text" in json.loads(files["result.json"])["tuple"]


@pytest.mark.parametrize("value", [{1}, object(), [np.int64(3)], {"a": 1j}])
def test_what_cannot_come_back_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="which the cache cannot keep"):
        pack(value, HERE)
