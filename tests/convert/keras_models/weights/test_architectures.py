"""Weights files of keras.applications' network, TF-Slim's and timm's: recognised, and filled into the same function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from safetensors.numpy import save_file

from convert.keras_models import loader
from convert.keras_models.heads import before_activation
from convert.keras_models.inception_resnet_v2 import unit_names
from convert.keras_models.loader import LoadedModel
from convert.keras_models.sources import ModelSource
from convert.keras_models.weights import architectures
from convert.keras_models.weights.weight_files import open_weights
from convert.statistics.metrics import sqnr_db
from edge_runtime.arrays import Array
from edge_runtime.specs import BINARY
from tests.convert.article import randomise
from tests.convert.keras_models.loading import IMAGES, error_of, our_network, predict
from tests.convert.keras_models.weights.published_networks import Slim, Timm

SIZE = 75
WHOLE = "pass the whole model as --model PATH"


def stand_in(channels: int = 3) -> keras.Model:
    """A base with names and layers like those of keras.applications' network, in little: its branches interleave."""

    def unit(x: Any, filters: int, size: int, strides: int = 1, name: str | None = None) -> Any:
        x = layers.Conv2D(filters, size, strides, "same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(scale=False, name=name and f"{name}_bn")(x)
        return layers.Activation("relu")(x)

    image = keras.Input((SIZE, SIZE, channels))
    x = unit(image, 8, 3, 40)
    short, long = unit(x, 8, 1), unit(unit(unit(x, 8, 1), 8, 1), 8, 1)
    up = layers.Conv2D(8, 1, name="block35_1_conv")(layers.Concatenate()([short, long]))
    x = layers.Activation("relu")(layers.Add()([x, up]))
    return keras.Model(image, unit(x, 1536, 1, name="conv_7b"), name="inception_resnet_v2")


@functools.cache
def whole() -> keras.Model:
    """keras.applications' network, made once: most of a test would go into building another."""
    return keras.applications.InceptionResNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))


def use(monkeypatch: pytest.MonkeyPatch, build: Callable[[], keras.Model]) -> None:
    """Make `load` take its base from `build`, every weight 0."""

    def blank(**options: Any) -> keras.Model:
        assert options == {"include_top": False, "weights": None, "input_shape": build().input_shape[1:]}
        model = build()
        for weight in model.weights:
            weight.assign(np.zeros(weight.shape))
        return model

    build()
    monkeypatch.setattr(keras.applications, "InceptionResNetV2", blank)


@pytest.fixture
def in_little(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, stand_in)


@pytest.fixture
def in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, whole)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A place for files of 200 MB, which are gone after the test."""
    yield tmp_path / "mine.weights.h5"
    for each in tmp_path.iterdir():
        each.unlink()


def load(path: Path, **options: Any) -> LoadedModel:
    return loader.load(ModelSource(weights=path, input_size=SIZE, **options))


def with_head(
    units: tuple[int, ...],
    build: Callable[[], keras.Model] = stand_in,
    nested: bool = False,
    flatten: bool = False,
    name: str = "head",
) -> keras.Model:
    """A classifier with random weights, whose hidden layers have relu; one unit ends in a sigmoid."""
    base = build()
    image = keras.Input((SIZE, SIZE, 3)) if nested else base.input
    x = base(image) if nested else base.output
    x = layers.Flatten()(x) if flatten else layers.GlobalAveragePooling2D()(x)
    for hidden in units[:-1]:
        x = layers.Dense(hidden, activation="relu")(x)
    x = layers.Dense(units[-1], activation="sigmoid" if units[-1] == 1 else "softmax", name=name)(x)
    return randomise(keras.Model(image, x))


def assert_same(loaded: LoadedModel, expected: Array) -> None:
    """One sigmoid counts as two classes, of which it answers the second."""
    if loaded.head == BINARY:
        expected = np.concatenate([1 - expected, expected], axis=1)
    spread = np.ptp(expected, axis=0).max()
    assert spread > 1e-4, "the answers depend on the image"
    np.testing.assert_allclose(predict(loaded.model), expected, rtol=0, atol=1e-3 * spread)


# --- Keras 2's layout, written here ------------------------------------------------------------------------------


def keras_2_names(model: keras.Model, offset: int) -> dict[str, str]:
    """Names as Keras 2 makes them up in a process that made other models before: numbers in order of creation."""
    names = {}
    for kind, prefix in ((layers.Conv2D, "conv2d"), (layers.BatchNormalization, "batch_normalization")):
        made_up = [layer.name for layer in model.layers if type(layer) is kind and layer.name.startswith(prefix)]
        in_order = sorted(made_up, key=lambda name: int(f"0{name.removeprefix(prefix).strip('_')}"))
        names |= {name: f"{prefix}_{number}" for number, name in enumerate(in_order, offset)}
    return names


def write_keras_2(
    model: keras.Model, path: Path, offset: int = 204, nested: str | None = None, frozen: int = 0, renamed: str = ""
) -> None:
    """Write weights as `save_weights("NAME.h5")` of Keras 2 does.

    Args:
        nested: name of a model that holds all layers but the dense ones: its weights are in one group, those of the
            first `frozen` layers after the others, and moving averages after all that is trained.
        renamed: what was put before the names of layers.
    """
    names = keras_2_names(model, offset)
    weighted = [layer for layer in model.layers if layer.weights]
    groups: dict[str, list[tuple[str, Array, bool]]] = {}
    for number, layer in enumerate(weighted):
        name = renamed + names.get(layer.name, layer.name)
        group = nested if nested and not isinstance(layer, layers.Dense) else name
        for weight in layer.weights:
            is_trained = number >= frozen and not weight.name.startswith("moving")
            groups.setdefault(group, []).append((f"{name}/{weight.name}:0", np.asarray(weight), is_trained))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        file.attrs["keras_version"] = b"2.4.0"
        for group, weights in groups.items():
            weights.sort(key=lambda weight: not weight[2])
            file.create_group(group).attrs["weight_names"] = [name.encode() for name, _, _ in weights]
            for name, value, _ in weights:
                file[group][name] = value


# --- Keras -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_full")
def test_with_top_as_keras_3_saves_it(path: Path) -> None:
    model = with_head((5,), whole, name="predictions")
    expected = predict(model)
    model.save_weights(path)
    loaded = load(path)
    assert loaded.recognized == (
        "mine.weights.h5: weights of keras.applications' InceptionResNetV2 with top, saved by Keras, 5 classes; "
        "activation softmax assumed: weights do not tell"
    )
    assert (loaded.architecture, loaded.labels) == ("keras.applications InceptionResNetV2", None)
    assert_same(loaded, expected)


@pytest.mark.usefixtures("in_little")
def test_what_the_user_says_is_held_against_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "inception_resnet_v2", lambda shape, classes: our_network(classes))
    model = with_head((5,))
    model.save_weights(path)
    message = error_of(lambda: load(path, classes=7))
    assert message == f"--classes 7 contradicts {path}, which has 5 classes: leave --classes out"
    assert_same(load(path, classes=5, architecture="keras-applications"), predict(model))
    message = error_of(lambda: load(path, architecture="article"))
    assert message.startswith(
        f"{path} holds 7 convolutions, the article's network has {len(unit_names(our_network()))} (none is left for "
    )
    assert message.endswith(f"): if it is another network, {WHOLE}")


@pytest.mark.usefixtures("in_little")
def test_a_nested_model_and_two_dense_layers_as_keras_3_saves_them(path: Path) -> None:
    model = with_head((8, 1), nested=True)
    model.save_weights(path)
    loaded = load(path, classes=2)
    assert loaded.recognized.endswith(
        "with a head of 2 dense layers, saved by Keras, one unit, for two classes; average pooling, hidden activation "
        "relu, activation sigmoid assumed: weights do not tell"
    )
    assert_same(loaded, predict(model))
    assert "contradicts" in error_of(lambda: load(path, classes=3))


def ending(build: Callable[[Any], Any], front: Callable[[Any], Any] = lambda image: image) -> keras.Model:
    """A whole model of Keras' own layers with a front and an end."""
    base, image = stand_in(), keras.Input((SIZE, SIZE, 3))
    return randomise(keras.Model(image, build(base(front(image)))))


def softmax_head(x: Any, pool: Any = layers.GlobalAveragePooling2D, hidden: str | None = "relu") -> Any:
    return layers.Dense(5, "softmax")(layers.Dropout(0.1)(layers.Dense(8, hidden, name="hid")(pool()(x))))


@pytest.mark.usefixtures("in_little")
@pytest.mark.parametrize(
    ("model", "difference"),
    [
        (lambda: ending(lambda x: layers.Dense(5, "sigmoid")(layers.GlobalAveragePooling2D()(x))), "ends in sigmoid"),
        (lambda: ending(softmax_head, layers.Rescaling(1 / 255, name="front")), "has a Rescaling layer front"),
        (
            lambda: ending(lambda x: softmax_head(x, lambda: layers.GlobalMaxPooling2D(name="pool"))),
            "has a GlobalMaxPooling2D layer pool",
        ),
        (lambda: ending(lambda x: softmax_head(x, hidden="tanh")), "has tanh in its layer hid"),
        (lambda: ending(lambda x: softmax_head(x, hidden=None)), "has no activation in its layer hid"),
    ],
    ids=["sigmoids", "Rescaling", "pool", "tanh", "linear"],
)
def test_a_whole_model_that_is_another_is_sent_to_model(
    model: Callable[[], keras.Model], difference: str, tmp_path: Path
) -> None:
    path = tmp_path / "whole.h5"
    model().save(path)
    assert error_of(lambda: load(path)) == f"{path} is a whole model that {difference}: pass it as --model {path}"


@pytest.mark.usefixtures("in_little")
def test_a_whole_model_that_is_what_is_assumed_goes_on_as_weights(tmp_path: Path) -> None:
    path, model = tmp_path / "whole.h5", with_head((8, 5))
    model.save(path)
    assert_same(load(path), predict(model))


@pytest.mark.usefixtures("in_little")
def test_a_whole_model_with_classes_of_its_own_goes_on_as_weights(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("mine")
    class Mine(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    path, base = tmp_path / "whole.h5", stand_in()
    x = layers.Dense(5, "softmax")(layers.GlobalAveragePooling2D()(Mine()(base.output)))
    model = randomise(keras.Model(base.input, x))
    model.save(path)
    assert_same(load(path), predict(model))


@pytest.mark.usefixtures("in_little")
def test_a_model_class_of_ones_own_as_keras_3_saves_it(path: Path) -> None:
    class Mine(keras.Model):  # type: ignore[misc]
        def __init__(self, base: keras.Model) -> None:
            super().__init__()
            self.base, self.pool = base, layers.GlobalAveragePooling2D()
            self.a_hidden, self.out = layers.Dense(8, activation="relu"), layers.Dense(5, activation="softmax")

        def call(self, images: Any, training: bool = False) -> Any:
            return self.out(self.a_hidden(self.pool(self.base(images, training=training))))

    model = Mine(stand_in())
    predict(model)
    randomise(model).save_weights(path)
    assert_same(load(path), predict(model))


@pytest.mark.usefixtures("in_little")
@pytest.mark.parametrize("flatten", [False, True])
def test_without_names_the_order_tells(path: Path, flatten: bool) -> None:
    model = with_head((5,), flatten=flatten)
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
        file.move("layers", "_layer_checkpoint_dependencies")
    loaded = load(path, architecture="keras-applications")
    assert f"{'flattening' if flatten else 'average pooling'}, activation softmax assumed" in loaded.recognized
    assert_same(loaded, predict(model))


@pytest.mark.usefixtures("in_little")
@pytest.mark.parametrize("frozen", [0, 4])
def test_a_nested_model_as_keras_2_saves_it(path: Path, frozen: int) -> None:
    model = with_head((5,))
    write_keras_2(model, path, nested="inception_resnet_v2", frozen=frozen)
    loaded = load(path)
    assert "with a head of one dense layer, saved by Keras 2.4.0, 5 classes" in loaded.recognized
    assert_same(loaded, predict(model))


def test_weights_of_a_network_of_grey_images(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, functools.partial(stand_in, 1))
    model = with_head((5,), functools.partial(stand_in, 1))
    model.save_weights(path)
    loaded = load(path)
    assert loaded.model.input_shape == (None, SIZE, SIZE, 1)
    np.testing.assert_allclose(predict(loaded.model, IMAGES[..., :1]), predict(model, IMAGES[..., :1]), atol=1e-6)


@pytest.mark.usefixtures("in_little")
def test_names_go_before_the_order(path: Path) -> None:
    model = with_head((5,))
    write_keras_2(model, path)
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = file.attrs["layer_names"][::-1]
    assert_same(load(path), predict(model))


@pytest.mark.usefixtures("in_little")
def test_layers_that_were_renamed_are_matched_by_order_unless_a_group_mixes_them(path: Path) -> None:
    model = with_head((5,))
    write_keras_2(model, path, renamed="left_")
    assert_same(load(path, architecture="keras-applications"), predict(model))
    write_keras_2(model, path, nested="left", frozen=4, renamed="left_")
    assert error_of(lambda: load(path, architecture="keras-applications")) == (
        f"{path} holds a model within a model whose convolutions have names of their own, and their order does not "
        f"tell which is which: {WHOLE}"
    )


def write_keras_2_checkpoint(model: keras.Model, prefix: Path) -> None:
    """Write a checkpoint as `save_weights("NAME")` of Keras 2 does, of a model whose base is nested."""
    tensors: dict[str, Any] = {"save_counter/.ATTRIBUTES/VARIABLE_VALUE": tf.constant(1, tf.int64)}
    inside = [layer for layer in model.layers if layer.weights and not isinstance(layer, layers.Dense)]
    dense = [layer for layer in model.layers if isinstance(layer, layers.Dense)]
    places = [(f"layer_with_weights-0/layer_with_weights-{i}", layer) for i, layer in enumerate(inside)]
    places += [(f"layer_with_weights-{i}", layer) for i, layer in enumerate(dense, 1)]
    for place, layer in places:
        for weight in layer.weights:
            name = f"{place}/{weight.name}"
            tensors[f"{name}/.ATTRIBUTES/VARIABLE_VALUE"] = tf.constant(weight.numpy())
            tensors[f"{name}/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE"] = tf.zeros(1)
    save_checkpoint(prefix, tensors)


def save_checkpoint(prefix: Path, tensors: dict[str, Any]) -> None:
    names = list(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=list(tensors.values())
    )


@pytest.mark.usefixtures("in_little")
def test_a_checkpoint_as_keras_2_saves_it(tmp_path: Path) -> None:
    model = with_head((8, 5))
    write_keras_2_checkpoint(model, tmp_path / "mine.ckpt")
    loaded = load(tmp_path / "mine.ckpt", architecture="keras-applications")
    assert loaded.recognized.startswith("mine.ckpt.index: weights of keras.applications' InceptionResNetV2 with a head")
    assert_same(loaded, predict(model))


@pytest.mark.usefixtures("in_little")
def test_the_state_of_an_optimizer_is_no_layer(path: Path) -> None:
    model = with_head((8, 5))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(IMAGES, np.array([0, 1, 2]), verbose=0)
    model.save_weights(path)
    with h5py.File(path) as file:
        assert len(file["optimizer/vars"]) > 20
    assert_same(load(path), predict(model))


# --- files that do not do ----------------------------------------------------------------------------------------


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


def write_head(path: Path, shapes: list[tuple[int, int]], others: dict[str, Array] | None = None) -> None:
    """Write 244 empty convolutions and a head in Keras 2's layout: enough to be recognised."""
    with h5py.File(path, "w") as file:
        names = [f"conv2d_{i}" for i in range(244)] + [f"dense_{i}" for i in range(len(shapes))] + list(others or {})
        arrays = [np.zeros((1, 1, 3, 1), np.float32)] * 244 + [np.zeros(shape, np.float32) for shape in shapes]
        file.attrs["layer_names"] = names
        for name, array in zip(names, [*arrays, *(others or {}).values()], strict=True):
            file[f"{name}/kernel:0" if name not in (others or {}) else f"{name}/alpha:0"] = array
            file[name].attrs["weight_names"] = [key for key in file[name]]


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


# --- TF-Slim and timm --------------------------------------------------------------------------------------------


@functools.cache
def slim() -> tuple[Slim, Array]:
    network = Slim()
    return network, network.logits(IMAGES)


@functools.cache
def timm() -> tuple[Timm, Array]:
    network = Timm()
    return network, network.logits(IMAGES)


def logits_of(loaded: LoadedModel) -> Array:
    model = loaded.model
    return predict(keras.Model(model.input, before_activation(model.outputs[0])))


def assert_answers(loaded: LoadedModel, expected: Array) -> None:
    assert sqnr_db(expected, logits_of(loaded)) > 100
    assert np.ptp(expected, axis=0).max() > 0.1, "the answers depend on the image"


OTHERS = {
    "global_step": tf.constant(7, tf.int64),
    "InceptionResnetV2/AuxLogits/Logits/weights": tf.ones((768, 1001)),
    "InceptionResnetV2/AuxLogits/Conv2d_1b_1x1/weights": tf.ones((1, 1, 1088, 128)),
    "InceptionResnetV2/Conv2d_1a_3x3/weights/RMSProp": tf.ones((3, 3, 3, 32)),
}
"""What a checkpoint of training holds beside the network."""


@pytest.mark.usefixtures("in_full")
def test_slim_checkpoint(tmp_path: Path, path: Path) -> None:
    network, expected = slim()
    checkpoint = tmp_path / "inception_resnet_v2_2016_08_30.ckpt"
    save_checkpoint(checkpoint, {name: tf.constant(value) for name, value in network.arrays.values.items()} | OTHERS)
    loaded = load(checkpoint)
    assert loaded.recognized.endswith(
        ": weights of keras.applications' InceptionResNetV2 with top, saved by TF-Slim, 1001 classes with background "
        "as class 0; activation softmax assumed: weights do not tell"
    )
    assert loaded.labels == ("background", *map(str, range(1, 1001)))
    assert_answers(loaded, expected)


def test_slim_checkpoint_of_the_first_format(tmp_path: Path, path: Path) -> None:
    arrays = slim()[0].arrays.values
    file = tmp_path / "inception_resnet_v2_2016_08_30.ckpt"
    tensors = {name: tf.constant(value) for name, value in arrays.items()} | OTHERS
    tf.raw_ops.Save(filename=str(file), tensor_names=list(tensors), data=list(tensors.values()))
    with open_weights(file) as stored:
        read = [array.read() for layer in stored.layers for array in layer.arrays.values()]
    assert len(read) == len(arrays)
    assert sum(float(array.sum()) for array in read) == sum(float(array.sum()) for array in arrays.values())


def test_slim_checkpoint_without_a_layer_or_its_data(tmp_path: Path, path: Path) -> None:
    arrays = {name: tf.zeros(value.shape) for name, value in slim()[0].arrays.values.items()}
    del arrays["InceptionResnetV2/Repeat_1/block17_2/Branch_1/Conv2d_0b_1x7/weights"]
    save_checkpoint(tmp_path / "half.ckpt", arrays)
    assert error_of(lambda: load(tmp_path / "half.ckpt")) == (
        f"{tmp_path}/half.ckpt.index has no InceptionResnetV2/Repeat_1/block17_2/Branch_1/Conv2d_0b_1x7, TF-Slim's "
        "network has one: pass a checkpoint of the whole network"
    )
    save_checkpoint(tmp_path / "other.ckpt", {"vgg_16/conv1/weights": tf.ones((3, 3, 3, 8))})
    assert "is a checkpoint of another network" in error_of(lambda: load(tmp_path / "other.ckpt"))
    (tmp_path / "half.ckpt.data-00000-of-00001").unlink()
    message = error_of(lambda: load(tmp_path / "half.ckpt.index"))
    assert "block17_2" in message or "lacks its .data files beside it" in message


@pytest.mark.usefixtures("in_full")
def test_timm_safetensors(tmp_path: Path, path: Path) -> None:
    network, expected = timm()
    file = tmp_path / "model.safetensors"
    arrays = {name: value.astype(np.float16) for name, value in network.arrays.values.items()}
    counters = {
        name.replace("running_var", "num_batches_tracked"): np.array(3) for name in arrays if "running_var" in name
    }
    save_file({f"module.{name}": value for name, value in (arrays | counters).items()}, file)
    loaded = load(file)
    assert loaded.recognized == (
        "model.safetensors: weights of keras.applications' InceptionResNetV2 with top, saved by timm, 1000 classes; "
        "activation softmax assumed: weights do not tell"
    )
    assert loaded.labels is None
    assert_answers(loaded, expected)


def test_safetensors_that_do_not_do(tmp_path: Path, path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"conv1.weight": np.ones((8, 3, 7, 7), np.float32)}, file)
    assert "has none of the arrays of timm's inception_resnet_v2" in error_of(lambda: load(file))
    save_file({"conv2d_1a.conv.weight": np.ones((32, 3, 3, 3), np.float32)}, file)
    assert error_of(lambda: load(file)) == (
        f"{file} has no conv2d_1a.bn.weight, timm's inception_resnet_v2 has one: pass its whole state_dict()"
    )
    arrays = {name: np.zeros(value.shape, np.float16) for name, value in timm()[0].arrays.values.items()}
    save_file(arrays | {"attention.weight": np.zeros(3, np.float32)}, file)
    assert "has attention.weight, timm's inception_resnet_v2 has no such array" in error_of(lambda: load(file))
    file.write_bytes(file.read_bytes()[:-8])
    assert "is not a safetensors file or is damaged" in error_of(lambda: load(file))
