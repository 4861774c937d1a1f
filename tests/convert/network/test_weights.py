"""Weights from everywhere: what is loaded predicts what the network that was saved predicted."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from convert.errors import SourceError
from convert.network import demo_weights, weights
from convert.network.architecture import inception_resnet_v2, unit_names
from convert.network.sources import ModelSource
from convert.network.weight_files import set_stored_weights
from tests.convert.article import SMALL, article_model, random_images, randomise

SMALL_NETWORK = {"repeats": SMALL["repeats"], "width": SMALL["width"]}
IMAGES = random_images(75)


def our_network(classes: int = 10, **options: Any) -> keras.Model:
    return inception_resnet_v2((75, 75, 3), classes, **(SMALL_NETWORK | options))


def predict(model: keras.Model, images: np.ndarray[Any, Any] = IMAGES) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(model(images, training=False)))


def error_of(call: Callable[[], object]) -> str:
    """The message of the SourceError that `call` raises; always one line."""
    with pytest.raises(SourceError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- weights files -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["the article's names", "names made up by Keras"])
def article(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A network of the article's `Conv_Bn_Relu` layers, and its weights saved by Keras 3."""
    model = randomise(article_model(**SMALL, named=request.param == "the article's names"))
    path = tmp_path_factory.mktemp("article") / "article.weights.h5"
    model.save_weights(path)
    return model, path


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


def test_article_weights_predict_as_the_article_network(article: tuple[keras.Model, Path]) -> None:
    theirs, path = article
    ours = our_network()
    set_stored_weights(ours, path)
    np.testing.assert_allclose(predict(ours), predict(theirs), atol=1e-6)


def test_article_weights_without_names_are_matched_by_depth(article: tuple[keras.Model, Path], tmp_path: Path) -> None:
    theirs, path = article
    ours = our_network()
    set_stored_weights(ours, without_noted_names(path, tmp_path / "old.weights.h5"))
    np.testing.assert_allclose(predict(ours), predict(theirs), atol=1e-6)


def test_first_keras_releases_called_the_layers_differently(article: tuple[keras.Model, Path], tmp_path: Path) -> None:
    theirs, path = article
    old = without_noted_names(path, tmp_path / "old.weights.h5")
    with h5py.File(old, "r+") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
    ours = our_network()
    set_stored_weights(ours, old)
    np.testing.assert_allclose(predict(ours), predict(theirs), atol=1e-6)


@pytest.mark.parametrize(
    ("first", "second"),
    [("stem_5_part1", "stem_5_part2"), ("inception_resnet_C_1_part1", "inception_resnet_C_1_part2")],
)
def test_the_comparison_would_see_two_branches_swapped(first: str, second: str) -> None:
    model = randomise(our_network())
    before = predict(model)
    one, other = (model.get_layer(f"{name}_conv_bn_relu1_conv") for name in (first, second))
    values = one.get_weights(), other.get_weights()
    one.set_weights(values[1])
    other.set_weights(values[0])
    assert np.abs(predict(model) - before).max() > 0.01


@pytest.mark.parametrize("name", ["ours.weights.h5", "whole_model.h5"])
def test_weights_of_our_own_builder(name: str, tmp_path: Path) -> None:
    theirs = randomise(our_network())
    path = tmp_path / name
    if name.endswith(".weights.h5"):
        theirs.save_weights(path)
    else:
        theirs.save(path)
    ours = our_network()
    set_stored_weights(ours, path)
    np.testing.assert_allclose(predict(ours), predict(theirs), atol=1e-6)


def test_weights_of_our_own_builder_without_names(tmp_path: Path) -> None:
    theirs = randomise(our_network())
    theirs.save_weights(tmp_path / "ours.weights.h5")
    ours = our_network()
    set_stored_weights(ours, without_noted_names(tmp_path / "ours.weights.h5", tmp_path / "old.weights.h5"))
    np.testing.assert_allclose(predict(ours), predict(theirs), atol=1e-6)


def test_a_list_of_names_too_long_for_one_attribute(tmp_path: Path) -> None:
    theirs = randomise(our_network())
    path = tmp_path / "ours.h5"
    theirs.save(path)
    with h5py.File(path, "r+") as file:
        names = list(file["model_weights"].attrs.pop("layer_names"))
        file["model_weights"].attrs["layer_names0"] = names[:50]
        file["model_weights"].attrs["layer_names1"] = names[50:]
    ours = our_network()
    set_stored_weights(ours, path)
    np.testing.assert_allclose(predict(ours), predict(theirs), atol=1e-6)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "mine.weights.h5"
    randomise(article_model(**SMALL)).save_weights(path)
    return path


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    """A copy of good weights, for a test to spoil."""
    return Path(shutil.copy(saved, tmp_path / "mine.weights.h5"))


def array_path(file: h5py.File, unit: str, part: str) -> str:
    """Where the Keras 3 layout keeps a part of a unit."""
    layers_of = file["layers"]
    (key,) = (key for key in layers_of if layers_of[key]["vars"].attrs["name"] == unit)
    return f"layers/{key}/{part}"


def test_wrong_class_count_names_both(saved: Path) -> None:
    message = error_of(lambda: set_stored_weights(our_network(classes=7), saved))
    assert message == f"layer dense of {saved} tells 10 classes apart, not 7: pass --classes 10"


def test_wrong_shape_names_the_first_layer_and_both_shapes(saved: Path) -> None:
    message = error_of(lambda: set_stored_weights(our_network(width=0.25), saved))
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
    message = error_of(lambda: set_stored_weights(our_network(), damaged))
    assert "layer inception_resnet_A_2_part3_conv_bn_relu2_bn of" in message
    assert "its gamma is (99,), the article's network has (6,)" in message


def test_nothing_is_set_when_one_layer_does_not_fit(saved: Path) -> None:
    ours = our_network(classes=7)
    before = [value.copy() for value in ours.get_weights()]
    error_of(lambda: set_stored_weights(ours, saved))
    assert all(np.array_equal(old, new) for old, new in zip(before, ours.get_weights(), strict=True))


def test_missing_layer_is_named(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        del file[array_path(file, "inception_resnet_B_1_part2_conv_bn_relu2", "").rstrip("/")]
    message = error_of(lambda: set_stored_weights(our_network(), damaged))
    expected = len(unit_names(our_network()))
    assert message == (
        f"{damaged} holds {expected - 1} convolutions, the article's network has {expected} "
        "(inception_resnet_B_1_part2_conv_bn_relu2 is missing): if it is another network, pass the whole model as "
        "--model PATH"
    )


def test_layers_too_many_are_named(saved: Path) -> None:
    message = error_of(lambda: set_stored_weights(our_network(repeats=(1, 1, 1)), saved))
    assert "(inception_resnet_A_2_part3_conv_bn_relu1 is not in the network)" in message


def test_layers_too_few_without_names(saved: Path, tmp_path: Path) -> None:
    old = without_noted_names(saved, tmp_path / "old.weights.h5")
    message = error_of(lambda: set_stored_weights(our_network(repeats=(3, 1, 1)), old))
    assert "convolutions, the article's network has" in message
    assert "(nothing is left for reduction_B_" in message or "(nothing is left for inception_resnet_C_1" in message


def test_missing_array_is_named(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        del file[array_path(file, "stem_conv_bn_relu2", "conv/vars/1")]
    message = error_of(lambda: set_stored_weights(our_network(), damaged))
    assert message == (
        f"layer stem_conv_bn_relu2_conv of {damaged} has no bias: the article's network needs one of shape (4,)"
    )


def test_no_dense_layer(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        del file["layers/dense"]
    message = error_of(lambda: set_stored_weights(our_network(), damaged))
    assert message == f"{damaged} holds 0 dense layers, the article's network has one"


def test_weights_that_are_not_finite(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        file[array_path(file, "stem_conv_bn_relu3", "bn/vars/2")][0] = np.nan
    message = error_of(lambda: set_stored_weights(our_network(), damaged))
    assert message.startswith(f"layer stem_conv_bn_relu3_bn of {damaged} has NaN or infinity in its moving_mean")


def test_weights_that_are_not_floats(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        bias = array_path(file, "stem_conv_bn_relu1", "conv/vars/1")
        del file[bias]
        file[bias] = np.ones(4, np.int8)
    message = error_of(lambda: set_stored_weights(our_network(), damaged))
    assert message == f"layer stem_conv_bn_relu1_conv of {damaged} has a bias of type int8: save it in float32"


def test_half_precision_weights_are_read(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        bias = array_path(file, "stem_conv_bn_relu1", "conv/vars/1")
        del file[bias]
        file[bias] = np.full(4, 0.5, np.float16)
    ours = our_network()
    set_stored_weights(ours, damaged)
    assert ours.get_layer("stem_conv_bn_relu1_conv").get_weights()[1].tolist() == [0.5] * 4


def test_unknown_layout(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["weights/first"] = np.ones((3, 3, 3, 4))
    message = error_of(lambda: set_stored_weights(our_network(), path))
    assert message == (
        f"{path} has no convolutions in a layout of Keras: save the article's network with "
        "model.save_weights('NAME.weights.h5'), or pass a whole model as --model PATH"
    )


def test_names_that_lead_to_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv", "data"]
        file["data"] = np.ones(3)
        file.create_group("conv/kernel:0")
        file["conv"].attrs["weight_names"] = "kernel:0"
    assert "has no convolutions in a layout of Keras" in error_of(lambda: set_stored_weights(our_network(), path))
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = ["absent"]
    assert "is not an HDF5 file or is damaged" in error_of(lambda: set_stored_weights(our_network(), path))


def test_a_file_that_is_not_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "mine.weights.h5"
    path.write_text("not HDF5")
    assert error_of(lambda: set_stored_weights(our_network(), path)).startswith(
        f"{path} is not an HDF5 file or is damaged ("
    )


def test_a_file_that_was_cut_off(damaged: Path) -> None:
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    assert "is not an HDF5 file or is damaged" in error_of(lambda: set_stored_weights(our_network(), damaged))


@pytest.mark.parametrize("link", [h5py.ExternalLink("/etc/secrets.h5", "/"), h5py.SoftLink("/layers/dense")])
def test_links_are_not_followed(damaged: Path, link: object) -> None:
    with h5py.File(damaged, "r+") as file:
        file["layers/elsewhere"] = link
    message = error_of(lambda: set_stored_weights(our_network(), damaged))
    assert message.startswith(f"{damaged} holds a link in place of data at layers/elsewhere, which is not followed")


def test_data_outside_the_file_is_not_read(damaged: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(bytes(40))
    with h5py.File(damaged, "r+") as file:
        del file["layers/dense/vars/1"]
        file["layers/dense/vars"].create_dataset("1", (10,), "f4", external=[(str(outside), 0, 40)])
    message = error_of(lambda: set_stored_weights(our_network(), damaged))
    assert message.startswith(f"{damaged} keeps the data of layers/dense/vars/1 in another file, which is not read")


# --- load: demo and --weights ------------------------------------------------------------------------------------


@pytest.fixture
def small_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load` builds a small network where it builds the full one."""
    monkeypatch.setattr(weights, "inception_resnet_v2", partial(inception_resnet_v2, **SMALL_NETWORK))


@pytest.mark.usefixtures("small_builder")
def test_load_weights(saved: Path) -> None:
    loaded = weights.load(ModelSource(weights=saved, classes=10, input_size=75))
    assert loaded.architecture == "inception_resnet_v2 (article)"
    assert loaded.labels is None
    assert loaded.weights_sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    np.testing.assert_allclose(predict(loaded.model), predict(randomise(article_model(**SMALL))), atol=1e-6)


@pytest.mark.usefixtures("small_builder")
def test_load_weights_at_the_architecture_s_size(saved: Path) -> None:
    assert weights.load(ModelSource(weights=saved, classes=10)).model.input_shape == (None, 299, 299, 3)


def test_load_weights_at_too_small_a_size(saved: Path) -> None:
    message = error_of(lambda: weights.load(ModelSource(weights=saved, classes=10, input_size=74)))
    assert message == "--input-size 74 is too small: Inception-ResNet-V2 needs at least 75 pixels"


def test_load_weights_of_one_class(saved: Path) -> None:
    message = error_of(lambda: weights.load(ModelSource(weights=saved, classes=1)))
    assert message == "--classes 1 is not a number of classes: a classifier tells at least 2 apart"


def test_load_checks_the_source_first(tmp_path: Path) -> None:
    assert "does not exist" in error_of(lambda: weights.load(ModelSource(model=str(tmp_path / "absent.keras"))))


@pytest.fixture
def demo_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[keras.Model, Path]:
    """A small network with the demo's kernels and random batch-normalizations, stored the demo's way."""
    model = randomise(our_network())
    demo_weights.set_random_kernels(model)
    path = tmp_path / "demo_weights.npz"
    arrays: dict[str, Any] = {"size": 75, **demo_weights.trained_parameters(model)}
    np.savez(path, **arrays)
    monkeypatch.setattr(demo_weights, "DEMO_WEIGHTS", path)
    return model, path


@pytest.mark.usefixtures("small_builder")
def test_load_demo(demo_file: tuple[keras.Model, Path]) -> None:
    model, path = demo_file
    loaded = weights.load(ModelSource())
    assert loaded.architecture == "inception_resnet_v2 (article)"
    assert loaded.labels is not None
    assert len(loaded.labels) == 10
    assert loaded.labels[0] == "T-shirt/top"
    assert loaded.labels[9] == "Ankle boot"
    assert loaded.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_allclose(predict(loaded.model), predict(model), atol=1e-6)


@pytest.mark.usefixtures("small_builder", "demo_file")
def test_load_demo_at_another_size() -> None:
    assert weights.load(ModelSource(input_size=91)).model.input_shape == (None, 91, 91, 3)


def test_demo_weights_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_weights, "DEMO_WEIGHTS", tmp_path / "absent.npz")
    message = error_of(lambda: weights.load(ModelSource()))
    assert message == f"the demo's weights {tmp_path / 'absent.npz'} are missing: install irv2-edge again"


# --- load: imagenet ----------------------------------------------------------------------------------------------


@pytest.fixture
def keras_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty download cache."""
    monkeypatch.setattr(keras.utils, "get_file", partial(keras.utils.get_file, cache_dir=str(tmp_path / "cache")))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine: its URL and the folder it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}", folder
        served.shutdown()


def serve(server: tuple[str, Path], name: str, content: bytes) -> tuple[str, str]:
    """Publish `content`: its URL and MD5, as `convert.network.weights` keeps them."""
    url, folder = server
    (folder / name).write_bytes(content)
    return f"{url}/{name}", hashlib.md5(content).hexdigest()


CLASS_INDEX = {str(number): [f"n{number:08}", f"name_{number}"] for number in range(1000)}
CLASS_INDEX |= {"134": ["n02012849", "crane"], "517": ["n03126707", "crane"]}


@pytest.mark.usefixtures("keras_home")
def test_imagenet_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "IMAGENET_CLASS_INDEX", ("http://127.0.0.1:1/imagenet_class_index.json", "0" * 32))
    message = error_of(lambda: weights.load(ModelSource(model="imagenet")))
    assert message.startswith(
        "--model imagenet: imagenet_class_index.json could not be downloaded (URL fetch failure on"
    )
    assert message.endswith("): try again with a network, or pass --model PATH or --weights FILE --classes N")


@pytest.mark.usefixtures("keras_home")
def test_imagenet_over_a_network_that_swallows_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/imagenet_class_index.json"
        monkeypatch.setattr(weights, "IMAGENET_CLASS_INDEX", (url, "0" * 32))
        monkeypatch.setattr(weights, "CONNECTION_TIMEOUT_S", 0.5)
        started = time.monotonic()
        assert "timed out" in error_of(lambda: weights.load(ModelSource(model="imagenet")))
    assert time.monotonic() - started < 10
    assert socket.getdefaulttimeout() is None


@pytest.mark.usefixtures("keras_home")
def test_imagenet_download_that_is_not_the_published_file(
    monkeypatch: pytest.MonkeyPatch, server: tuple[str, Path]
) -> None:
    url, _ = serve(server, "imagenet_class_index.json", b"{}")
    monkeypatch.setattr(weights, "IMAGENET_CLASS_INDEX", (url, "0" * 32))
    assert "Incomplete or corrupted file detected" in error_of(lambda: weights.load(ModelSource(model="imagenet")))


def test_imagenet_at_too_small_a_size() -> None:
    message = error_of(lambda: weights.load(ModelSource(model="imagenet", input_size=64)))
    assert message == "--input-size 64 is too small: Inception-ResNet-V2 needs at least 75 pixels"


@pytest.mark.slow
@pytest.mark.usefixtures("keras_home")
def test_load_imagenet(monkeypatch: pytest.MonkeyPatch, server: tuple[str, Path], tmp_path: Path) -> None:
    theirs = keras.applications.InceptionResNetV2(weights=None, input_shape=(75, 75, 3))
    theirs.save(tmp_path / "published.h5")
    content = (tmp_path / "published.h5").read_bytes()
    monkeypatch.setattr(weights, "IMAGENET_WEIGHTS", serve(server, "published_weights.h5", content))
    index = serve(server, "imagenet_class_index.json", json.dumps(CLASS_INDEX).encode())
    monkeypatch.setattr(weights, "IMAGENET_CLASS_INDEX", index)

    loaded = weights.load(ModelSource(model="imagenet", input_size=75))

    assert loaded.architecture == "keras.applications InceptionResNetV2"
    assert loaded.labels is not None
    assert len(set(loaded.labels)) == 1000
    assert loaded.labels[7] == "name_7"
    assert (loaded.labels[134], loaded.labels[517]) == ("crane (n02012849)", "crane (n03126707)")
    assert loaded.weights_sha256 == hashlib.sha256(content).hexdigest()
    np.testing.assert_allclose(predict(loaded.model), predict(theirs), atol=1e-6)


# --- --model PATH: what is loaded --------------------------------------------------------------------------------

TINY_IMAGES = np.random.default_rng(3).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)


def classifier(
    last: Any = "softmax", size: int | None = 8, channels: int = 3, classes: int = 5, dtype: str = "float32"
) -> keras.Model:
    """A small classifier whose weights all matter; `last` is the activation of its last layer."""
    image = keras.Input((size, size, channels))
    x = layers.Conv2D(6, 3, activation="relu", dtype=dtype)(image)
    x = layers.BatchNormalization(dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return randomise(
        keras.Model(image, layers.Dense(classes, activation=last, dtype=dtype, name="head")(x), name="tiny")
    )


def save(model: keras.Model, path: Path) -> Path:
    model.save(path)
    return path


def load_path(path: Path, input_size: int | None = None) -> weights.LoadedModel:
    return weights.load(ModelSource(model=str(path), input_size=input_size))


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_load_a_model(suffix: str, tmp_path: Path) -> None:
    theirs = classifier()
    path = save(theirs, tmp_path / f"mine{suffix}")
    loaded = load_path(path)
    assert (loaded.architecture, loaded.labels) == ("tiny", None)
    assert loaded.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_of_keras_applications_are_known(suffix: str, tmp_path: Path) -> None:
    from keras.src.applications.convnext import LayerScale
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    image = keras.Input((8, 8, 3))
    x = CustomScaleLayer(0.17)([image, layers.Conv2D(3, 3, padding="same")(image)])
    x = LayerScale(0.3, 3)(x)
    theirs = keras.Model(image, layers.Dense(5, activation="softmax")(layers.Flatten()(x)))
    loaded = load_path(save(theirs, tmp_path / f"scaled{suffix}"))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_compiled_with_a_loss_of_the_user_s_own(suffix: str, tmp_path: Path) -> None:
    def my_loss(truth: Any, guess: Any) -> Any:
        return keras.losses.categorical_crossentropy(truth, guess)

    theirs = classifier()
    theirs.compile("adam", my_loss)
    assert load_path(save(theirs, tmp_path / f"mine{suffix}")).model.output_shape == (None, 5)


def test_operations_and_preprocessing_layers_of_keras(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(layers.RandomFlip()(image))
    x = keras.ops.relu(layers.Conv2D(4, 3, kernel_regularizer="l2", kernel_constraint="max_norm")(x)) + 1.0
    theirs = keras.Model(image, keras.ops.softmax(layers.Dense(5)(layers.Flatten()(x))))
    loaded = load_path(save(theirs, tmp_path / "ops.keras"))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


def test_a_sequential_model_around_another_model(tmp_path: Path) -> None:
    body = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten()])
    theirs = keras.Sequential([keras.Input((8, 8, 3)), body, layers.Dense(5)])
    loaded = load_path(save(theirs, tmp_path / "nested.keras"))
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(predict(theirs, TINY_IMAGES)))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), expected, atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_logits_get_a_softmax(suffix: str, tmp_path: Path) -> None:
    theirs = classifier(last=None)
    loaded = load_path(save(theirs, tmp_path / f"logits{suffix}"))
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(predict(theirs, TINY_IMAGES)))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), expected, atol=1e-6)
    assert loaded.model.output_shape == (None, 5)
    assert loaded.architecture == "tiny"


def test_logits_out_of_a_pooling_layer(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    theirs = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(5, 1)(image)))
    loaded = load_path(save(theirs, tmp_path / "squeeze.keras"))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "end",
    [layers.Activation("softmax"), layers.Softmax(), keras.ops.softmax, layers.Dense(5, activation="softmax")],
    ids=["activation", "layer", "operation", "dense"],
)
@pytest.mark.parametrize("after", [None, layers.Activation("linear"), layers.Reshape((5,)), layers.Dropout(0.5)])
def test_a_softmax_is_not_doubled(
    end: Callable[[Any], Any], after: Callable[[Any], Any] | None, tmp_path: Path
) -> None:
    image = keras.Input((8, 8, 3))
    probabilities = end(layers.Dense(5)(layers.Flatten()(image)))
    theirs = randomise(keras.Model(image, probabilities if after is None else after(probabilities)))
    loaded = load_path(save(theirs, tmp_path / "mine.keras"))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


@pytest.mark.parametrize("last", ["sigmoid", "relu", "log_softmax"])
def test_another_end_is_refused(last: str, tmp_path: Path) -> None:
    path = save(classifier(last), tmp_path / "mine.keras")
    assert error_of(lambda: load_path(path)) == (
        f"{path} ends in {last}: a classifier ends in a softmax or in logits; end it in keras.layers.Softmax() and "
        "save it again"
    )


def test_the_mean_of_two_softmaxes_is_no_logits(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    ends = [layers.Dense(5, activation="softmax")(layers.Flatten()(image)) for _ in range(2)]
    path = save(keras.Model(image, layers.Average()(ends)), tmp_path / "both.keras")
    assert f"{path} ends in Average" in error_of(lambda: load_path(path))


def test_a_model_for_any_size_is_fixed_at_one(tmp_path: Path) -> None:
    theirs = classifier(last=None, size=None)
    loaded = load_path(save(theirs, tmp_path / "any.keras"), input_size=8)
    assert loaded.model.input_shape == (None, 8, 8, 3)
    assert loaded.model.name == "tiny"
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(predict(theirs, TINY_IMAGES)))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), expected, atol=1e-6)


@pytest.mark.parametrize("nested", [False, True])
def test_an_adapted_normalization_keeps_its_statistics_at_a_fixed_size(nested: bool, tmp_path: Path) -> None:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(5).normal(3, 2, (4, 8, 8, 3)))
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3)(normalization(image))
    theirs: Any = randomise(keras.Model(image, layers.Dense(5, activation="softmax")(layers.GlobalMaxPooling2D()(x))))
    normalization.adapt(np.random.default_rng(5).normal(3, 2, (4, 8, 8, 3)))
    if nested:
        theirs = keras.Sequential([keras.Input((None, None, 3)), theirs])
    loaded = load_path(save(theirs, tmp_path / "mine.keras"), input_size=8)
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


def test_a_model_of_a_list_to_a_list(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    theirs = keras.Model([image], [layers.Dense(5, activation="softmax")(layers.Flatten()(image))])
    loaded = load_path(save(theirs, tmp_path / "lists.keras"))
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)
    assert loaded.model(TINY_IMAGES).shape == (4, 5)


def test_a_model_of_fixed_batch(tmp_path: Path) -> None:
    image = keras.Input(batch_shape=(4, 8, 8, 3))
    theirs = keras.Model(image, layers.Dense(5, activation="softmax")(layers.Flatten()(image)))
    loaded = load_path(save(theirs, tmp_path / "batch.keras"))
    assert loaded.model.input_shape == (None, 8, 8, 3)
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(theirs, TINY_IMAGES), atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_a_model_trained_in_mixed_precision_is_single_precision(dtype: str, tmp_path: Path) -> None:
    theirs = classifier(last=None, dtype=dtype)
    loaded = load_path(save(theirs, tmp_path / "mixed.keras"))
    assert loaded.model.dtype == loaded.model.output.dtype == "float32"
    same = classifier(last="softmax")
    same.set_weights(theirs.get_weights())
    np.testing.assert_allclose(predict(loaded.model, TINY_IMAGES), predict(same, TINY_IMAGES), atol=1e-6)


def test_a_model_that_takes_bytes_takes_floats(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3), dtype="uint8")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    theirs = keras.Model(image, layers.Dense(5, activation="softmax")(x))
    loaded = load_path(save(theirs, tmp_path / "bytes.keras"))
    assert loaded.model.inputs[0].dtype == "float32"
    pixels = np.random.default_rng(4).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(predict(loaded.model, pixels.astype(np.float32)), predict(theirs, pixels), atol=1e-6)


# --- --model PATH: what is refused -------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("someone")
class ForeignLayer(layers.Layer):  # type: ignore[misc]
    """Registered, so that Keras itself would load it in this process."""

    def call(self, x: Any) -> Any:
        return x + 1


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("depth", ["on top", "inside another model"])
def test_foreign_classes_are_refused_by_name(suffix: str, depth: str, tmp_path: Path) -> None:
    body = keras.Sequential([keras.Input((8, 8, 3)), ForeignLayer()])
    x = body.inputs[0] if depth == "on top" else keras.Input((8, 8, 3))
    flat = layers.Flatten()(ForeignLayer()(x) if depth == "on top" else body(x))
    path = save(keras.Model(x, layers.Dense(5)(flat)), tmp_path / f"foreign{suffix}")
    message = error_of(lambda: load_path(path))
    assert message.startswith(f"{path} has a layer of class ")
    assert "ForeignLayer, which is not Keras' own, and models are loaded in safe mode" in message


def test_an_article_model_saved_whole_is_sent_to_weights(tmp_path: Path) -> None:
    path = save(article_model(**SMALL), tmp_path / "article.keras")
    message = error_of(lambda: load_path(path))
    assert "Conv_Bn_Relu, which is not Keras' own" in message
    assert message.endswith("or pass an article-trained network as --weights FILE --classes N")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_refused_and_never_run(suffix: str, tmp_path: Path) -> None:
    ran = str(tmp_path / "ran")
    image = keras.Input((8, 8, 3))
    x = layers.Lambda(lambda x, path=ran: __import__("pathlib").Path(path).write_text("ran") and x)(image)
    path = save(keras.Model(image, layers.Dense(5)(layers.Flatten()(x))), tmp_path / f"lambda{suffix}")
    Path(ran).unlink()  # it ran when the model was made, as it would when it is made again
    assert error_of(lambda: load_path(path)) == (
        f"{path} has a Lambda layer, which is code in the file, and models are loaded in safe mode: replace it with "
        "Keras' own layers"
    )
    assert not Path(ran).exists()


def edit_configuration(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the configuration inside a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    configuration = json.loads(members["config.json"])
    edit(configuration)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, json.dumps(configuration) if name == "config.json" else content)


@pytest.mark.parametrize(
    "reference",
    [
        {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"},
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
        {"module": "keras.saving", "class_name": "function", "config": "load_model", "registered_name": None},
        {"class_name": "__lambda__", "config": {"value": "4wA="}},
    ],
    ids=lambda reference: f"{reference.get('module')}.{reference['config']}",
)
def test_a_function_from_outside_the_building_blocks_is_refused(reference: dict[str, Any], tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")

    def edit(configuration: dict[str, Any]) -> None:
        configuration["config"]["layers"][1]["config"]["activation"] = reference

    edit_configuration(path, edit)
    assert "models are loaded in safe mode" in error_of(lambda: load_path(path))


def test_links_in_a_model_file_are_not_followed(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights/head"]
        file["model_weights/head"] = h5py.ExternalLink("/etc/secrets.h5", "/")
    assert "holds a link in place of data at model_weights/head" in error_of(lambda: load_path(path))


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "parts")
    with h5py.File(tmp_path / "parts" / "model.weights.h5", "r+") as file:
        file["layers/elsewhere"] = h5py.ExternalLink("/etc/secrets.h5", "/")
    with zipfile.ZipFile(path, "w") as archive:
        for part in (tmp_path / "parts").iterdir():
            archive.write(part, part.name)
    assert "holds a link in place of data at layers/elsewhere" in error_of(lambda: load_path(path))


def test_weights_that_would_fill_the_memory_are_not_inflated(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")
    with zipfile.ZipFile(path) as archive:
        configuration = archive.read("config.json")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", configuration)
        archive.writestr("model.weights.h5", bytes(2**25))
    assert "model.weights.h5 claims 33,554,432 bytes, over 100 times the file" in error_of(lambda: load_path(path))


def test_weights_in_place_of_a_model(saved: Path) -> None:
    assert error_of(lambda: load_path(saved)) == (
        f"{saved} holds weights without a model: pass --weights {saved} --classes N for the article's network, or save "
        "the whole model as NAME.keras"
    )


@pytest.mark.parametrize("name", ["mine.keras", "mine.h5"])
def test_a_model_file_of_something_else(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("not a model")
    assert error_of(lambda: load_path(path)).startswith(f"{path} is not a")


def test_a_zip_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "mine.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    message = error_of(lambda: load_path(path))
    assert message.startswith(f"{path} is not a Keras model or is damaged (")
    assert message.endswith("): save it with model.save('NAME.keras')")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_file_that_was_cut_off(suffix: str, tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / f"mine{suffix}")
    path.write_bytes(path.read_bytes()[:-3000])
    assert "damaged" in error_of(lambda: load_path(path))


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b'"text"', b"[]"])
def test_a_configuration_that_is_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", content)
    assert error_of(lambda: load_path(path)).startswith(str(path))


def test_weights_missing_from_a_model_file(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")
    with zipfile.ZipFile(path) as archive:
        configuration = archive.read("config.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", configuration)
    assert error_of(lambda: load_path(path)).startswith(f"{path} cannot be loaded by Keras {keras.__version__} (")


def test_any_size_needs_a_size(tmp_path: Path) -> None:
    path = save(classifier(size=None), tmp_path / "any.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} takes images of any size: pass --input-size N, the size it was trained at"


def test_too_small_a_size_for_a_model_of_any_size(tmp_path: Path) -> None:
    path = save(classifier(size=None), tmp_path / "any.keras")
    assert error_of(lambda: load_path(path, input_size=2)).startswith(f"{path} cannot take 2x2 images (")


def test_another_size_than_the_model_s(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "mine.keras")
    message = error_of(lambda: load_path(path, input_size=16))
    assert message == f"--input-size 16 differs from the 8x8 that {path} takes: leave it out"


def test_grey_models_are_refused(tmp_path: Path) -> None:
    path = save(classifier(channels=1), tmp_path / "grey.keras")
    assert error_of(lambda: load_path(path)) == (
        f"{path} takes images of 1 channels, shape (8, 8, 1): only RGB, (height, width, 3), is supported"
    )


def test_one_class_is_no_classifier(tmp_path: Path) -> None:
    path = save(classifier(classes=1), tmp_path / "one.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} puts out 1 class: a classifier tells at least 2 apart"


def test_a_feature_extractor_is_no_classifier(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    path = save(keras.Model(image, layers.Conv2D(4, 3)(image)), tmp_path / "features.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} puts out shape (6, 6, 4): a classifier puts out one number a class, (classes,)"


def test_a_model_of_vectors_is_no_image_classifier(tmp_path: Path) -> None:
    vector = keras.Input((20,))
    path = save(keras.Model(vector, layers.Dense(5)(vector)), tmp_path / "vector.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} takes inputs of shape (20,): a classifier of images takes (height, width, 3)"


def test_two_outputs_are_refused(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    flat = layers.Flatten()(image)
    path = save(keras.Model(image, [layers.Dense(5)(flat), layers.Dense(2)(flat)]), tmp_path / "two.keras")
    message = error_of(lambda: load_path(path))
    assert message == f"{path} has 1 inputs and 2 outputs: a classifier has one of each"


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_model_without_an_input_shape_is_refused(tmp_path: Path) -> None:
    path = save(keras.Sequential([layers.Flatten(), layers.Dense(5)]), tmp_path / "unbuilt.keras")
    assert error_of(lambda: load_path(path)) == (
        f"{path} was saved before it had an input shape: call the model on an image, then save it"
    )
