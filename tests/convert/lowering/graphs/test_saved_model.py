"""SavedModel folders become networks of ours that answer the same, and run nothing but what classifiers are made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from convert import convert_model, measure_drift
from convert.cache.stages import lowering
from convert.errors import SourceError
from convert.keras_models.sources import SAVED_MODEL, ModelSource
from convert.lowering.graphs.saved_model import SavedModelNetwork
from convert.lowering.graphs.saved_model_graph import _refuse_resources, loadable
from convert.lowering.graphs.saved_model_training import REMOVED
from convert.lowering.keras_comparison import checked_sqnr_db, tflite_logits
from convert.lowering.lower import LoweringRequest
from convert.lowering.networks import open_network
from convert.statistics.verdict import PASS
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from edge_runtime import Classifier
from tests.convert.lowering.graphs.foreign import (
    CLASSES,
    FOREIGN,
    HEIGHT,
    IMAGE,
    MEAN,
    STD,
    WIDTH,
    Foreign,
    images,
    logits,
    pictures,
    pixels,
    scaled_inside,
)


def opened(folder: Path, input_size: int | None = None) -> SavedModelNetwork:
    network = open_network(ModelSource(str(folder), input_size=input_size))
    assert isinstance(network, SavedModelNetwork)
    return network


def answers(model: bytes, x: np.ndarray) -> np.ndarray:
    engine = RecordingEngine(model)
    return np.stack([engine.run(image[np.newaxis])[0] for image in x])


def saved(folder: Path, **signatures: Callable[..., Any]) -> Path:
    """Write functions of a picture as signatures of a SavedModel."""
    module, picture = tf.Module(), tf.TensorSpec((None, HEIGHT, WIDTH, 3), name="picture")
    functions = {name: tf.function(function, input_signature=[picture]) for name, function in signatures.items()}
    tf.saved_model.save(module, str(folder), signatures=functions)
    return folder


@pytest.mark.parametrize(
    "name",
    ["channels first", "any batch, a shape that is computed", "logarithms", "a softmax written out", "one sigmoid"],
)
def test_it_answers_as_the_function_that_was_saved(name: str, tmp_path: Path) -> None:
    foreign = FOREIGN[name]
    network = opened(foreign.saved(tmp_path / "theirs"))
    model, x = network.to_tflite(tmp_path, print), images()
    graph = TfliteGraph(model)
    assert graph.shape_signature(graph.inputs[0]) == IMAGE
    assert network.head == foreign.head
    assert network.recognized == f"theirs: SavedModel of TensorFlow {tf.__version__}, signature classify"
    np.testing.assert_allclose(answers(model, x), foreign.probabilities(x), atol=1e-6)
    assert checked_sqnr_db(network.logits(x), tflite_logits(model, x)) > 100


def small(head: Any) -> keras.Model:
    image = keras.Input((None, None, 3))
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, use_bias=False)(image))
    x = layers.DepthwiseConv2D(3, activation="silu")(x)
    keras.utils.set_random_seed(2)
    return keras.Model(image, head(layers.GlobalAveragePooling2D()(x)))


def test_keras_own_export(tmp_path: Path) -> None:
    """It has two endpoints, `serve` and `serving_default`, and a size that is open."""
    model = small(layers.Dense(CLASSES, activation="softmax"))
    model.export(tmp_path / "exported", verbose=False)
    network = opened(tmp_path / "exported", input_size=11)
    x = np.random.default_rng(1).normal(size=(3, 11, 11, 3)).astype(np.float32)
    np.testing.assert_allclose(answers(network.to_tflite(tmp_path, print), x), model(x), atol=1e-6)
    with pytest.raises(SourceError, match=r"takes images of any size: pass --input-size N"):
        opened(tmp_path / "exported")


def test_augmentation_that_keras_exports_is_left_out(tmp_path: Path) -> None:
    """`model.export` leaves it active, with its seeds; `model.predict` does not do it."""
    image = keras.Input((HEIGHT, WIDTH, 3))
    augmentation = keras.Sequential(
        [layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomZoom(0.3), layers.RandomContrast(0.3)]
    )
    x = layers.Rescaling(1 / 127.5, -1)(augmentation(image))
    x = keras.Sequential([layers.Conv2D(8, 3, activation="relu"), layers.Flatten()], name="base")(x)
    model = keras.Model(image, layers.Dense(1, activation="sigmoid")(x))
    model.export(tmp_path / "exported", verbose=False)
    network, pixel = opened(tmp_path / "exported"), np.random.default_rng(1).integers(0, 256, (3, HEIGHT, WIDTH, 3))
    left_out, *folded = network.front
    assert re.fullmatch(
        r"left out: random_flip\w*, random_rotation\w*, random_zoom\w*, random_contrast\w*, augmentation, which the "
        "SavedModel still does",
        left_out,
    )
    assert len(folded) == 2
    expected = model.predict(pixel.astype(np.float32), verbose=0)[:, 0]
    normalized = (pixel / 127.5 - 1).astype(np.float32)
    np.testing.assert_allclose(answers(network.to_tflite(tmp_path, print), normalized)[:, 1], expected, atol=1e-5)
    with loadable(tmp_path / "exported", "serving_default") as copy:
        functions = SavedModel.FromString((copy / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def.library
    called = next(each for each in functions.function if each.signature.name.startswith("__inference___call__"))
    assert not {node.op for node in called.node_def} & REMOVED


def test_random_answers_are_refused(tmp_path: Path) -> None:
    def noisy(picture: Any) -> dict[str, Any]:
        scores = logits(picture)
        return {"scores": scores + tf.random.stateless_uniform(tf.shape(scores), (1, 2))}

    with pytest.raises(SourceError, match=r"theirs gives other answers each time: it draws random numbers \(state"):
        opened(saved(tmp_path / "theirs", serving_default=noisy))


class Counting(tf.Module):  # type: ignore[misc]
    """A classifier that counts its calls, and may answer by that."""

    def __init__(self, counts: bool) -> None:
        super().__init__()
        self.calls, self.counts = tf.Variable(0.0), counts

    @tf.function(input_signature=[tf.TensorSpec((None, HEIGHT, WIDTH, 3), name="picture")])  # type: ignore[untyped-decorator]
    def answer(self, picture: Any) -> dict[str, Any]:
        self.calls.assign_add(1.0)
        return {"scores": logits(picture) * self.calls if self.counts else logits(picture)}


def test_an_assignment_counts_if_an_answer_reads_its_variable(tmp_path: Path) -> None:
    for counts in (False, True):
        module = Counting(counts)
        tf.saved_model.save(module, str(tmp_path / f"{counts}"), signatures=module.answer)
    x = images()
    found = answers(opened(tmp_path / "False").to_tflite(tmp_path, print), x)
    np.testing.assert_allclose(found, FOREIGN["logits"].probabilities(x), atol=1e-6)
    with pytest.raises(
        SourceError, match=r"True is not run: its answers may depend on a variable that it assigns \(As"
    ):
        opened(tmp_path / "True")


@pytest.mark.parametrize(("function", "dtype"), [(pixels, tf.uint8), (pixels, tf.float32), (scaled_inside, tf.float32)])
def test_what_scales_pixels_becomes_preprocessing(function: Any, dtype: tf.DType, tmp_path: Path) -> None:
    """Also what TFLiteConverter would move into the first convolution, unseen."""
    foreign = Foreign(function, dtype=dtype)
    network = opened(foreign.saved(tmp_path / "theirs"))
    spec = network.spec(None)
    mean, std = (MEAN, STD) if function is pixels else ((127.5,) * 3, (127.5,) * 3)
    np.testing.assert_allclose(spec.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(spec.std, std, rtol=1e-6)
    raw = np.random.default_rng(5).integers(0, 256, (4, HEIGHT, WIDTH, 3), np.uint8)
    x = ((raw - np.array(spec.mean)) / np.array(spec.std)).astype(np.float32)
    if function is scaled_inside:
        assert network.front == (
            "folded: truediv(127.5) into the card's mean and std",
            "folded: sub(1) into the card's mean and std",
        )
    model = network.to_tflite(tmp_path, print)
    np.testing.assert_allclose(answers(model, x), foreign.probabilities(raw.astype(dtype.as_numpy_dtype)), atol=1e-6)
    assert checked_sqnr_db(network.logits(x), tflite_logits(model, x)) > 100
    with pytest.raises(
        SourceError, match=r"theirs scales its pixels itself \(.*\), and --preprocessing tf would scale"
    ):
        network.spec("tf")


def test_the_signature(tmp_path: Path) -> None:
    def zeros(picture: Any) -> dict[str, Any]:
        return {"scores": 0 * logits(picture)}

    def scores(picture: Any) -> dict[str, Any]:
        return {"scores": tf.nn.softmax(logits(picture))}

    def both(picture: Any) -> dict[str, Any]:
        return {"a": logits(picture), "b": picture}

    network = opened(saved(tmp_path / "default", other=zeros, serving_default=scores))
    x = images()
    expected = FOREIGN["any batch"].probabilities(x)
    np.testing.assert_allclose(answers(network.to_tflite(tmp_path, print), x), expected, atol=1e-6)
    with pytest.raises(
        SourceError, match=r"neither has 2 signatures \(one, other\), none of them serving_default: save"
    ):
        opened(saved(tmp_path / "neither", one=zeros, other=scores))
    with pytest.raises(SourceError, match=r"several has 2 outputs \(a, b\) in its signature serving_default: an image"):
        opened(saved(tmp_path / "several", serving_default=both))
    tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
    with pytest.raises(SourceError, match=r"none has no signature, not even serving_default: save it with"):
        opened(tmp_path / "none")


def with_file(picture: Any) -> dict[str, Any]:
    secret = tf.strings.length(tf.io.read_file("/etc/hostname"))
    return {"scores": logits(picture) + tf.cast(secret, tf.float32)}


def with_writing(picture: Any) -> dict[str, Any]:
    tf.io.write_file("written", "x")
    return {"scores": logits(picture)}


def with_python(picture: Any) -> dict[str, Any]:
    return {"scores": tf.py_function(lambda x: x, [logits(picture)], tf.float32)}


def with_branch(picture: Any) -> dict[str, Any]:
    """A file read deep inside a function that a branch calls."""
    pattern = tf.cond(tf.reduce_sum(picture) > 0, lambda: tf.size(tf.io.matching_files("/*")), lambda: 0)
    return {"scores": logits(picture) + tf.cast(pattern, tf.float32)}


def with_augmentation_that_writes(picture: Any) -> dict[str, Any]:
    """A file written in a layer that would be taken out."""
    with tf.name_scope("random_flip"):
        number = tf.random.stateless_uniform((), (1, 2))
        with tf.control_dependencies([tf.io.write_file("written", "x")]):
            flipped = tf.where(number > 0.5, tf.reverse(picture, [2]), picture)
    return {"scores": logits(flipped)}


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (with_file, "ReadFile"),
        (with_writing, "WriteFile"),
        (with_python, "EagerPyFunc"),
        (with_branch, "MatchingFiles"),
        (with_augmentation_that_writes, "WriteFile"),
    ],
)
def test_a_graph_that_touches_more_than_numbers_is_not_run(
    function: Any, operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.saved_model, "load", None)
    folder = saved(tmp_path / "theirs", serving_default=function)
    with pytest.raises(SourceError, match=rf"theirs is not run: its graph has the operator {operator} \(.*\), which"):
        opened(folder)


def test_a_table_is_not_made(tmp_path: Path) -> None:
    """Its initializer, which may read a file, would run while the model is loaded."""
    module = tf.Module()
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(tmp_path / "names.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, -1
        ), -1,
    )  # fmt: skip
    picture = tf.TensorSpec(IMAGE, name="picture")
    module.answer = tf.function(lambda picture: {"scores": logits(picture)}, input_signature=[picture])
    tf.saved_model.save(module, str(tmp_path / "theirs"), signatures=module.answer)
    with pytest.raises(SourceError, match=r"theirs is not run: it has a table or another resource"):
        opened(tmp_path / "theirs")


def test_folders_that_are_no_saved_model(tmp_path: Path) -> None:
    def refusal(folder: Path) -> str:
        with pytest.raises(SourceError) as caught:
            open_network(ModelSource(str(folder)))
        return str(caught.value).removeprefix(str(folder))

    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(empty) == " is a folder: a SavedModel has a saved_model.pb in it; pass that folder"
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    assert refusal(damaged).startswith("/saved_model.pb is damaged (")
    hub = tmp_path / "hub"
    hub.mkdir()
    (hub / "saved_model.pb").touch()
    (hub / "tfhub_module.pb").touch()
    assert "is a module of TensorFlow Hub's first format, which is not supported" in refusal(hub)


def test_a_graph_of_tensorflow_1(tmp_path: Path) -> None:
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        image = tf.compat.v1.placeholder(tf.float32, IMAGE)
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "old"), {"x": image}, {"y": logits(image)})
    with pytest.raises(SourceError, match=r"old was saved by TensorFlow 1, whose graphs are not supported"):
        opened(tmp_path / "old")


def test_moments_of_an_optimizer_that_tensorflow_no_longer_has(tmp_path: Path) -> None:
    """As TensorFlow up to 2.10 saved a model that was trained: an object `optimizer` with variables for others."""
    path = FOREIGN["any batch"].saved(tmp_path / "trained") / "saved_model.pb"
    saved_model = SavedModel.FromString(path.read_bytes())
    objects = saved_model.meta_graphs[0].object_graph_def.nodes
    objects[0].children.add(node_id=len(objects), local_name="optimizer")
    first = len(objects)
    optimizer, weight, moment = (objects.add() for _ in range(3))
    optimizer.user_object.identifier = "optimizer"
    weight.user_object.identifier = moment.user_object.identifier = "_generic_user_object"
    optimizer.slot_variables.add(original_variable_node_id=first + 1, slot_name="m", slot_variable_node_id=first + 2)
    path.write_bytes(saved_model.SerializeToString())
    with pytest.raises(Exception, match="add_slot"):
        tf.saved_model.load(str(path.parent))
    x = images()
    found = answers(opened(path.parent).to_tflite(tmp_path, print), x)
    np.testing.assert_allclose(found, FOREIGN["any batch"].probabilities(x), atol=1e-6)


def test_variables_that_are_missing(tmp_path: Path) -> None:
    small(layers.Dense(CLASSES)).export(tmp_path / "cut", verbose=False)
    for path in (tmp_path / "cut" / "variables").iterdir():
        path.unlink()
    with pytest.raises(SourceError, match=r"cut cannot be loaded by TensorFlow .*"):
        opened(tmp_path / "cut", input_size=11).spec("tf")


def test_what_tflite_lacks_is_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "theirs", serving_default=lambda picture: {"y": logits(tf.math.erf(picture))})
    with pytest.raises(SourceError, match=r"theirs needs operators that TFLite does not have \(Erf"):
        opened(folder).spec("tf")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A subclassed Keras model, which no Keras file can hold without its code."""

    class Theirs(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="theirs")
            self.inside = keras.Sequential(
                [
                    layers.Conv2D(8, 3, activation="relu", use_bias=False), layers.GlobalAveragePooling2D(),
                    layers.Dense(1, activation="sigmoid"),
                ]
            )  # fmt: skip

        def call(self, image: Any) -> Any:
            return self.inside(image / 127.5 - 1)

    keras.utils.set_random_seed(3)
    model = Theirs()
    model(np.zeros((2, HEIGHT, WIDTH, 3), np.float32))
    random = np.random.default_rng(2)
    model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    return model, tmp_path_factory.mktemp("api")


def test_a_subclassed_model_in_memory_is_converted_by_its_graph(exported: tuple[Any, Path]) -> None:
    model, folder = exported
    outcomes = convert_model(
        model, schemes="none,int8", labels=["cat", "dog"], calibration=pictures(folder / "calibration", 30),
        validation=pictures(folder / "validation", 120), output_dir=folder, thumbnails=False,
    )  # fmt: skip
    assert [outcome.path.name for outcome in outcomes] == ["theirs.none.tflite", "theirs.int8.tflite"]
    assert outcomes[1].gate is not None
    assert outcomes[1].gate.verdict == PASS
    raw = np.random.default_rng(5).integers(0, 256, (4, HEIGHT, WIDTH, 3), np.uint8)
    expected = np.asarray(model(raw.astype(np.float32)))[:, 0]
    with Classifier.open(outcomes[0].path) as classifier:
        assert classifier.labels == ("cat", "dog")
        np.testing.assert_allclose(classifier.probabilities(list(raw))[:, 1], expected, atol=1e-5)


def test_a_saved_model_is_a_reference(exported: tuple[Any, Path]) -> None:
    model, folder = exported
    model.export(folder / "reference", verbose=False)
    validation = pictures(folder / "other", 100)
    found = measure_drift(folder / "theirs.none.tflite", folder / "reference", validation, labels=["cat", "dog"])
    assert found.assessment.drift.agreement_top1 == 1


def test_the_cache_depends_on_every_file_of_the_folder(tmp_path: Path) -> None:
    folder = FOREIGN["logits"].saved(tmp_path / "theirs")
    assert ModelSource(str(folder)).origin == SAVED_MODEL

    def key() -> str:
        return str(lowering(LoweringRequest(ModelSource(str(folder)), "tf", (), tmp_path)).key().digest)

    before = key()
    (folder / ".DS_Store").write_bytes(b"of a file manager")
    assert key() == before
    variables = next((folder / "variables").glob("*.data-*"))
    variables.write_bytes(variables.read_bytes() + b"\0")
    assert key() != before


def test_a_moved_folder_is_the_same_network(tmp_path: Path) -> None:
    folder = FOREIGN["logits"].saved(tmp_path / "theirs")
    found = opened(folder).weights_sha256
    assert re.fullmatch("[0-9a-f]{64}", found)
    assert opened(folder.rename(tmp_path / "moved")).weights_sha256 == found


def test_constants_are_no_resources_though_tensorflow_2_9_registers_them() -> None:
    graph = MetaGraphDef()
    constant = graph.object_graph_def.nodes.add(registered_name="tf.TrackableConstant")
    constant.constant.operation = "Const"
    _refuse_resources(graph, Path("mine"))
    graph.object_graph_def.nodes.add().resource.device = "cpu"
    with pytest.raises(SourceError, match="mine is not run: it has a table or another resource"):
        _refuse_resources(graph, Path("mine"))
