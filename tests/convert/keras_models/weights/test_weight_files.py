"""Weights files: layouts, what does not fit, what is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from convert.keras_models.inception_resnet_v2 import unit_names
from convert.keras_models.weight_formats import HDF5_START
from edge_runtime.arrays import Array
from tests.convert.keras_models.loading import blank_network, error_of, predict, random_network, set_stored_weights


def without_noted_names(path: Path, target: Path) -> Path:
    """The file as the first Keras 3 releases wrote it: no `name` attribute on any group."""
    shutil.copy(path, target)
    with h5py.File(target, "r+") as file:
        groups: list[h5py.Group] = []
        file.visititems(lambda _, item: groups.append(item))
        assert sum("name" in group.attrs for group in groups) > 30
        for group in groups:
            group.attrs.pop("name", None)
    return target


def assert_loaded(path: Path) -> None:
    """Every weight of a network that is filled from the file is that of `random_network`, to the bit."""
    model = blank_network()
    set_stored_weights(model, path)
    for weight, expected in zip(model.weights, random_network().weights, strict=True):
        if weight.name != "seed_generator_state":
            np.testing.assert_array_equal(weight, expected)


def test_article_weights_predict_as_the_article_network(article: tuple[Array, Path]) -> None:
    expected, path = article
    model = blank_network()
    set_stored_weights(model, path)
    np.testing.assert_allclose(predict(model), expected, atol=1e-6)


def test_article_weights_without_names_are_matched_by_depth(article: tuple[Array, Path], tmp_path: Path) -> None:
    expected, path = article
    model = blank_network()
    set_stored_weights(model, without_noted_names(path, tmp_path / "old.weights.h5"))
    np.testing.assert_allclose(predict(model), expected, atol=1e-6)


def test_first_keras_releases_called_the_layers_differently(article: tuple[Array, Path], tmp_path: Path) -> None:
    expected, path = article
    old = without_noted_names(path, tmp_path / "old.weights.h5")
    with h5py.File(old, "r+") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
    model = blank_network()
    set_stored_weights(model, old)
    np.testing.assert_allclose(predict(model), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "second"),
    [("stem_5_part1", "stem_5_part2"), ("inception_resnet_C_1_part1", "inception_resnet_C_1_part2")],
)
def test_the_comparison_would_see_two_branches_swapped(first: str, second: str) -> None:
    model = blank_network()
    model.set_weights(random_network().get_weights())
    before = predict(model)
    one, other = (model.get_layer(f"{name}_conv_bn_relu1_conv") for name in (first, second))
    values = one.get_weights(), other.get_weights()
    one.set_weights(values[1])
    other.set_weights(values[0])
    assert np.abs(predict(model) - before).max() > 0.01


@pytest.mark.parametrize("name", ["ours.weights.h5", "whole_model.h5"])
def test_weights_of_our_own_builder(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".weights.h5"):
        random_network().save_weights(path)
    else:
        random_network().save(path)
    assert_loaded(path)


def test_weights_of_our_own_builder_without_names(tmp_path: Path) -> None:
    random_network().save_weights(tmp_path / "ours.weights.h5")
    assert_loaded(without_noted_names(tmp_path / "ours.weights.h5", tmp_path / "old.weights.h5"))


def test_a_list_of_names_too_long_for_one_attribute(tmp_path: Path) -> None:
    path = tmp_path / "ours.h5"
    random_network().save(path)
    with h5py.File(path, "r+") as file:
        names = list(file["model_weights"].attrs.pop("layer_names"))
        file["model_weights"].attrs["layer_names0"] = names[:50]
        file["model_weights"].attrs["layer_names1"] = names[50:]
    assert_loaded(path)


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    """A copy of good weights, for a test to spoil."""
    return Path(shutil.copy(saved, tmp_path / "mine.weights.h5"))


def array_path(file: h5py.File, unit: str, part: str) -> str:
    """Where the Keras 3 layout keeps a part of a unit."""
    layers_of = file["layers"]
    (key,) = (key for key in layers_of if layers_of[key]["vars"].attrs["name"] == unit)
    return f"layers/{key}/{part}"


def test_wrong_shape_names_the_first_layer_and_both_shapes(saved: Path) -> None:
    message = error_of(lambda: set_stored_weights(blank_network(width=0.25), saved))
    assert message == (
        f"layer stem_conv_bn_relu1_conv of {saved} does not fit: its kernel is (3, 3, 3, 4), the article's network has "
        "(3, 3, 3, 8); if it is another network, pass the whole model as --model PATH"
    )


def test_the_first_layer_that_does_not_fit_is_the_first_of_the_network(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        for unit in ("reduction_A_part2_conv_bn_relu1", "inception_resnet_A_2_part3_conv_bn_relu2"):
            gamma = array_path(file, unit, "bn/vars/0")
            del file[gamma]
            file[gamma] = np.ones(99, np.float32)
    message = error_of(lambda: set_stored_weights(blank_network(), damaged))
    assert "layer inception_resnet_A_2_part3_conv_bn_relu2_bn of" in message
    assert "its gamma is (99,), the article's network has (6,)" in message


def test_nothing_is_set_when_one_layer_does_not_fit(saved: Path) -> None:
    ours = blank_network(classes=7)
    before = [value.copy() for value in ours.get_weights()]
    error_of(lambda: set_stored_weights(ours, saved))
    assert all(np.array_equal(old, new) for old, new in zip(before, ours.get_weights(), strict=True))


def test_missing_layer_is_named(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        del file[array_path(file, "inception_resnet_B_1_part2_conv_bn_relu2", "").rstrip("/")]
    message = error_of(lambda: set_stored_weights(blank_network(), damaged))
    expected = len(unit_names(blank_network()))
    assert message == (
        f"{damaged} holds {expected - 1} convolutions, the article's network has {expected} "
        "(inception_resnet_B_1_part2_conv_bn_relu2 is missing): if it is another network, pass the whole model as "
        "--model PATH"
    )


def test_layers_too_many_are_named(saved: Path) -> None:
    message = error_of(lambda: set_stored_weights(blank_network(repeats=(1, 1, 1)), saved))
    assert "(inception_resnet_A_2_part3_conv_bn_relu1 is not in the network)" in message


def test_layers_too_few_without_names(saved: Path, tmp_path: Path) -> None:
    old = without_noted_names(saved, tmp_path / "old.weights.h5")
    message = error_of(lambda: set_stored_weights(blank_network(repeats=(3, 1, 1)), old))
    assert "convolutions, the article's network has" in message
    assert "(none is left for reduction_B_" in message or "(none is left for inception_resnet_C_1" in message


def test_missing_array_is_named(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        del file[array_path(file, "stem_conv_bn_relu2", "conv/vars/1")]
    message = error_of(lambda: set_stored_weights(blank_network(), damaged))
    assert message == (
        f"layer stem_conv_bn_relu2_conv of {damaged} has no bias: the article's network needs one of shape (4,); if "
        "it is another network, pass the whole model as --model PATH"
    )


def test_no_dense_layer(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        del file["layers/dense"]
    message = error_of(lambda: set_stored_weights(blank_network(), damaged))
    assert message == (
        f"{damaged} holds 0 dense layers, the article's network has one: pass the whole model as --model PATH"
    )


def test_weights_that_are_not_finite(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        file[array_path(file, "stem_conv_bn_relu3", "bn/vars/2")][0] = np.nan
    message = error_of(lambda: set_stored_weights(blank_network(), damaged))
    assert message.startswith(f"layer stem_conv_bn_relu3_bn of {damaged} has NaN or infinity in its moving_mean")


def test_weights_that_are_not_floats(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        bias = array_path(file, "stem_conv_bn_relu1", "conv/vars/1")
        del file[bias]
        file[bias] = np.ones(4, np.int8)
    message = error_of(lambda: set_stored_weights(blank_network(), damaged))
    assert message == f"layer stem_conv_bn_relu1_conv of {damaged} has a bias of type int8: save it in float32"


def test_half_precision_weights_are_read(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        bias = array_path(file, "stem_conv_bn_relu1", "conv/vars/1")
        del file[bias]
        file[bias] = np.full(4, 0.5, np.float16)
    ours = blank_network()
    set_stored_weights(ours, damaged)
    assert ours.get_layer("stem_conv_bn_relu1_conv").get_weights()[1].tolist() == [0.5] * 4


def test_unknown_layout(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["weights/first"] = np.ones((3, 3, 3, 4))
    message = error_of(lambda: set_stored_weights(blank_network(), path))
    assert message == (
        f"{path} has no convolutions in a layout of Keras: save the network with "
        "model.save_weights('NAME.weights.h5'), or pass a whole model as --model PATH"
    )


def test_names_that_lead_to_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv", "data"]
        file["data"] = np.ones(3)
        file.create_group("conv/kernel:0")
        file["conv"].attrs["weight_names"] = "kernel:0"
    assert "has no convolutions in a layout of Keras" in error_of(lambda: set_stored_weights(blank_network(), path))
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = ["absent"]
    assert "is not an HDF5 file or is damaged" in error_of(lambda: set_stored_weights(blank_network(), path))


def test_a_file_that_is_hdf5_at_its_start_only(tmp_path: Path) -> None:
    path = tmp_path / "mine.weights.h5"
    path.write_bytes(HDF5_START + b"nothing more")
    assert error_of(lambda: set_stored_weights(blank_network(), path)).startswith(
        f"{path} is not an HDF5 file or is damaged ("
    )


def test_a_file_that_was_cut_off(damaged: Path) -> None:
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    assert "is not an HDF5 file or is damaged" in error_of(lambda: set_stored_weights(blank_network(), damaged))


@pytest.mark.parametrize("link", [h5py.ExternalLink("/etc/secrets.h5", "/"), h5py.SoftLink("/layers/dense")])
def test_links_are_not_followed(damaged: Path, link: object) -> None:
    with h5py.File(damaged, "r+") as file:
        file["layers/elsewhere"] = link
    message = error_of(lambda: set_stored_weights(blank_network(), damaged))
    assert message.startswith(f"{damaged} holds a link in place of data at layers/elsewhere, which is not followed")


def test_data_outside_the_file_is_not_read(damaged: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(bytes(40))
    with h5py.File(damaged, "r+") as file:
        del file["layers/dense/vars/1"]
        file["layers/dense/vars"].create_dataset("1", (10,), "f4", external=[(str(outside), 0, 40)])
    message = error_of(lambda: set_stored_weights(blank_network(), damaged))
    assert message.startswith(f"{damaged} keeps the data of layers/dense/vars/1 in another file, which is not read")
