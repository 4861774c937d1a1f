"""Files of weights that fit no known network are refused, and none is set."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.convert.keras_models.loading import error_of
from tests.convert.keras_models.weights.in_little import WHOLE, load, stand_in, with_head
from tests.convert.keras_models.weights.keras_2_layout import (
    write_head,
    write_keras_2,
)


@pytest.mark.usefixtures("in_little")
def test_features_without_a_head_are_refused(path: Path) -> None:
    stand_in().save_weights(path)
    assert error_of(lambda: load(path)) == (
        f"{path} has no head: its weights end in features, not in classes; save those of the whole classifier where "
        "it was trained, or pass it as --model PATH"
    )


@pytest.mark.usefixtures("in_little")
def test_the_first_layer_that_does_not_fit_is_named_as_in_the_file_and_none_is_set(path: Path) -> None:
    write_keras_2(with_head((5,)), path)
    with h5py.File(path, "r+") as file:
        for name in ("conv2d_206", "conv2d_205"):
            del file[f"{name}/{name}/kernel:0"]
            file[f"{name}/{name}/kernel:0"] = np.ones((3, 3, 8, 8), np.float32)
    assert error_of(lambda: load(path)) == (
        f"layer conv2d_205 of {path} does not fit: its kernel is (3, 3, 8, 8), keras.applications' InceptionResNetV2 "
        f"has (1, 1, 8, 8); if it is another network, {WHOLE}"
    )


@pytest.mark.usefixtures("in_little")
def test_a_head_that_does_not_fit_the_size(path: Path) -> None:
    write_head(path, [(9 * 1536, 5)])
    assert error_of(lambda: load(path)) == (
        f"the first dense layer in {path} takes 13824 numbers, keras.applications' InceptionResNetV2 gives 1536, or "
        "6144 unpooled at 75x75 pixels: pass --input-size N, the size it was trained at, or the whole model as --model "
        "PATH"
    )


@pytest.mark.usefixtures("in_little")
def test_more_dense_layers_than_can_be_told_apart(path: Path) -> None:
    write_head(path, [(1536, 8), (8, 8), (8, 5)])
    assert error_of(lambda: load(path)) == (
        f"{path} holds 3 dense layers, and weights do not tell what is between them: {WHOLE}"
    )


def test_weights_of_layers_that_the_network_does_not_have_are_not_left_out(path: Path) -> None:
    write_head(path, [(1536, 5)], {"p_re_lu": np.zeros((1, 1, 8), np.float32)})
    assert error_of(lambda: load(path)) == (
        f"{path} holds p_re_lu with alpha, keras.applications' InceptionResNetV2 has no such layer: {WHOLE}"
    )


def test_another_network_is_told_from_the_known_ones(path: Path) -> None:
    write_head(path, [(1536, 5)])
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = file.attrs["layer_names"][100:]
    assert error_of(lambda: load(path)) == (
        f"{path} holds 144 convolutions: the article's network has 242, keras.applications' InceptionResNetV2 has 244; "
        f"if it is another network, {WHOLE}"
    )
