"""Float `.tflite` files that others wrote become networks of ours that answer the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from convert import convert_model
from convert.errors import LoweringError, SourceError
from convert.keras_models.front.wording import exact_numbers, shown_numbers
from convert.keras_models.sources import TFLITE, ModelSource
from convert.lowering.graphs.tflite_source import TfliteNetwork
from convert.lowering.keras_comparison import checked_sqnr_db, tflite_logits
from convert.lowering.networks import open_network
from convert.statistics.verdict import PASS
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from convert.tflite.rewriting import GraphEditor
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
    pooled,
)
from tests.convert.networks import plain_dynamic, residual_network
from tests.edge_runtime.compiled_models import compiled


def opened(model: bytes, folder: Path, input_size: int | None = None) -> TfliteNetwork:
    path = folder / "theirs.tflite"
    path.write_bytes(model)
    network = open_network(ModelSource(str(path), input_size=input_size))
    assert isinstance(network, TfliteNetwork)
    return network


def test_one_number_with_two_labels_is_their_logit(tmp_path: Path) -> None:
    model = Foreign(lambda x: logits(x, 1)).tflite()
    (tmp_path / "theirs.tflite").write_bytes(model)
    network = open_network(ModelSource(str(tmp_path / "theirs.tflite"), labels=2))
    x = np.random.default_rng(0).normal(size=(3, *IMAGE[1:])).astype(np.float32)
    ours = network.to_tflite(tmp_path, print)
    assert network.head == "binary"
    for image in x:
        z = float(answers(model, image[np.newaxis]).ravel()[0])
        second = 1 / (1 + np.exp(-z))
        np.testing.assert_allclose(answers(ours, image[np.newaxis]).ravel(), [1 - second, second], atol=1e-6)
    assert checked_sqnr_db(network.logits(x), tflite_logits(ours, x)) > 80


def answers(model: bytes, x: np.ndarray) -> np.ndarray:
    engine = RecordingEngine(model)
    return np.stack([engine.run(image[np.newaxis])[0] for image in x])


@pytest.mark.parametrize("name", FOREIGN)
def test_it_answers_as_the_function_that_was_converted(name: str, tmp_path: Path) -> None:
    foreign = FOREIGN[name]
    network = opened(foreign.tflite(), tmp_path)
    model, x = network.to_tflite(tmp_path, print), images()
    graph = TfliteGraph(model)
    assert graph.shape_signature(graph.inputs[0]) == IMAGE
    assert graph.shape_signature(graph.outputs[0]) == (1, network.classes)
    assert graph.signatures() == {"serving_default": ({"image": graph.inputs[0]}, {"probabilities": graph.outputs[0]})}
    assert len({graph.tensor_name(i) for i in graph.tensors}) == len(graph.tensors)
    assert not {"SHAPE", "PACK", "DEQUANTIZE"} & {operator.name for operator in graph.operators}
    assert network.head == foreign.head
    np.testing.assert_allclose(answers(model, x), foreign.probabilities(x), atol=1e-6)
    if network.head != "independent":
        assert checked_sqnr_db(network.logits(x), tflite_logits(model, x)) > 100


def test_channels_first_costs_no_operator(tmp_path: Path) -> None:
    graph = TfliteGraph(opened(FOREIGN["channels first"].tflite(), tmp_path).to_tflite(tmp_path, print))
    assert not graph.named("TRANSPOSE")


def test_one_sigmoid_costs_no_operator(tmp_path: Path) -> None:
    graph = TfliteGraph(opened(FOREIGN["one sigmoid"].tflite(), tmp_path).to_tflite(tmp_path, print))
    assert [operator.name for operator in graph.operators][-2:] == ["FULLY_CONNECTED", "SOFTMAX"]
    assert len(graph.named("FULLY_CONNECTED")) == 1


def test_every_operator_with_weights_has_a_bias(tmp_path: Path) -> None:
    graph = TfliteGraph(opened(FOREIGN["a convolution at the end"].tflite(), tmp_path).to_tflite(tmp_path, print))
    assert all(graph.is_constant(operator.bias) for operator in graph.operators if operator.has_weights)


def test_an_open_size_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    foreign = Foreign(lambda x: tf.nn.softmax(logits(x)), (None, None, None, 3))
    network = opened(foreign.tflite(), tmp_path, input_size=14)
    model = network.to_tflite(tmp_path, print)
    graph = TfliteGraph(model)
    assert graph.shape(graph.inputs[0]) == (1, 14, 14, 3)
    (pool,) = graph.named("MEAN")
    assert graph.shape(pool.inputs[0]) == (1, 12, 12, 8)  # no placeholder of one pixel is left anywhere
    x = np.random.default_rng(1).normal(size=(3, 14, 14, 3)).astype(np.float32)
    np.testing.assert_allclose(answers(model, x), foreign.probabilities(x), atol=1e-6)
    with pytest.raises(SourceError, match=r"takes images of any size: pass --input-size N"):
        opened(foreign.tflite(), tmp_path)


def test_a_file_of_1x1_pixels_without_a_signature_leaves_its_size_open(tmp_path: Path) -> None:
    """Its answers for one pixel would be those of no network that anyone trained."""
    foreign = Foreign(lambda x: tf.nn.softmax(logits(x)), (1, None, None, 3))
    editor = GraphEditor(foreign.tflite())
    editor.set_shapes({editor.inputs[0]: (1, 1, 1, 3)})
    content = editor.to_bytes()
    with pytest.raises(SourceError, match=r"takes images of any size: pass --input-size N"):
        opened(content, tmp_path)
    x = np.random.default_rng(1).normal(size=(3, 14, 14, 3)).astype(np.float32)
    model = opened(content, tmp_path, input_size=14).to_tflite(tmp_path, print)
    np.testing.assert_allclose(answers(model, x), foreign.probabilities(x), atol=1e-6)


def test_a_side_that_is_fixed_stays(tmp_path: Path) -> None:
    content = Foreign(lambda x: tf.nn.softmax(logits(x)), (1, 14, None, 3)).tflite()
    with pytest.raises(SourceError, match=r"takes images of 14xany pixels: pass --input-size"):
        opened(content, tmp_path)
    with pytest.raises(SourceError, match=r"--input-size 16 differs from 14xany, .*: pass another for the open side"):
        opened(content, tmp_path, input_size=16)


def test_constants_of_float16_become_float32(tmp_path: Path) -> None:
    foreign = FOREIGN["any batch"]
    model = opened(foreign.tflite(half=True), tmp_path).to_tflite(tmp_path, print)
    graph, x = TfliteGraph(model), images()
    assert {graph.dtype(i) for i in graph.tensors} <= {"float32", "int32"}
    np.testing.assert_allclose(answers(model, x), foreign.probabilities(x), atol=5e-3)


@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
def test_what_scales_pixels_becomes_preprocessing(dtype: tf.DType, tmp_path: Path) -> None:
    foreign = Foreign(pixels, dtype=dtype)
    network = opened(foreign.tflite(), tmp_path)
    model, spec = network.to_tflite(tmp_path, print), network.spec(None)
    np.testing.assert_allclose(spec.mean, MEAN, rtol=1e-6)
    np.testing.assert_allclose(spec.std, STD, rtol=1e-6)
    raw = np.random.default_rng(5).integers(0, 256, (4, HEIGHT, WIDTH, 3), np.uint8)
    x = ((raw - np.array(spec.mean)) / np.array(spec.std)).astype(np.float32)
    expected = foreign.probabilities(raw.astype(dtype.as_numpy_dtype))
    np.testing.assert_allclose(answers(model, x), expected, atol=1e-6)
    assert checked_sqnr_db(network.logits(x), tflite_logits(model, x)) > 100
    assert {operator.name for operator in TfliteGraph(model).operators}.isdisjoint({"CAST", "SUB", "DIV"})
    assert [re.sub(r"\S*(?=\()", "", line) for line in network.front] == [
        f"folded: ({shown_numbers(exact_numbers(np.array(values, np.float32)))}) into the card's mean and std"
        for values in (MEAN, 1 / np.array(STD))
    ]


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_named(kept: float, tmp_path: Path) -> None:
    model = FOREIGN["logits"].tflite()
    with pytest.raises(SourceError, match=r"theirs\.tflite is damaged or cut off: copy it again"):
        opened(model[: int(len(model) * kept)], tmp_path)


def test_scaling_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    network = opened(Foreign(pixels).tflite(), tmp_path)
    assert network.spec("none") == network.spec(None)
    with pytest.raises(
        SourceError, match=r"theirs\.tflite scales its pixels itself \(.*\), and --preprocessing tf would"
    ):
        network.spec("tf")


def test_uint8_without_scaling_is_pixels(tmp_path: Path) -> None:
    foreign = Foreign(lambda x: tf.nn.softmax(logits(tf.cast(x, tf.float32) / 50)), dtype=tf.uint8)
    spec = opened(foreign.tflite(), tmp_path).spec(None)
    assert (set(spec.mean), len(set(spec.std))) == ({0.0}, 1)
    with pytest.raises(
        SourceError, match=r"theirs\.tflite .*, and --preprocessing tf says something else: leave it out"
    ):
        opened(foreign.tflite(), tmp_path).spec("tf")


def reversed_channels(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(logits((x[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)) * 0.01))


def test_channels_in_the_opposite_order(tmp_path: Path) -> None:
    """As keras.applications' preprocessing of ResNet-50 and VGG."""
    foreign = Foreign(reversed_channels)
    network = opened(foreign.tflite(), tmp_path)
    spec, model = network.spec("none"), network.to_tflite(tmp_path, print)
    assert spec.channel_order == "BGR"
    raw = np.random.default_rng(5).integers(0, 256, (4, HEIGHT, WIDTH, 3)).astype(np.float32)
    x = ((raw[..., ::-1] - np.array(spec.mean)) / np.array(spec.std)).astype(np.float32)
    np.testing.assert_allclose(answers(model, x), foreign.probabilities(raw), atol=1e-6)
    assert checked_sqnr_db(network.logits(x), tflite_logits(model, x)) > 100
    assert not {"REVERSE_V2", "STRIDED_SLICE"} & {operator.name for operator in TfliteGraph(model).operators}


def test_grey_images(tmp_path: Path) -> None:
    foreign = Foreign(lambda x: tf.nn.softmax(logits(tf.concat([x, x, x], -1))), (1, HEIGHT, WIDTH, 1))
    network = opened(foreign.tflite(), tmp_path)
    assert network.spec("tf").channels == 1
    x = images()[..., :1]
    np.testing.assert_allclose(answers(network.to_tflite(tmp_path, print), x), foreign.probabilities(x), atol=1e-6)


def test_a_file_that_does_not_say_how_images_are_prepared(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"theirs\.tflite does not say how its images were prepared: pass --prep"):
        opened(FOREIGN["logits"].tflite(), tmp_path).spec(None)


REFUSED: dict[str, tuple[Foreign, str]] = {
    "an embedding": (Foreign(lambda x: tf.math.l2_normalize(logits(x), 1)), r"ends in .*, which gives no class scores"),
    "features": (
        Foreign(lambda x: tf.reduce_mean(tf.nn.relu(features_of(x)), [1, 2])),
        r"ends in MEAN, which gives no class scores: an image classifier ends in a softmax, a sigmoid or logits",
    ),
    "tanh": (Foreign(lambda x: tf.tanh(logits(x))), r"ends in TANH, which gives no class scores"),
    "two softmaxes, averaged": (
        Foreign(lambda x: (tf.nn.softmax(logits(x)) + tf.nn.softmax(2 * logits(x))) / 2),
        r"ends in MUL, which gives no class scores",
    ),
    "one number": (
        Foreign(lambda x: logits(x, 1)),
        r"ends in one number without an activation, .* pass --labels FILE with two names",
    ),
    "a map": (Foreign(lambda x: tf.nn.conv2d(x, constant_of(), 1, "SAME")), r"has outputs of shape \(1, 12, 10, 5\)"),
    "a table": (Foreign(lambda x: tf.matmul(x, constant_of()[0, 0]), (1, 3)), r"takes inputs of shape \(1, 3\)"),
    "four channels": (
        Foreign(lambda x: tf.nn.softmax(logits(x[..., :3])), (1, HEIGHT, WIDTH, 4)),
        r"takes inputs of shape \(1, 12, 10, 4\): a classifier of images takes \(1, height, width, 3\)",
    ),
    "integers": (
        Foreign(lambda x: tf.nn.softmax(logits(tf.cast(x, tf.float32))), dtype=tf.int32),
        r"takes int32: an image classifier takes float32 or uint8",
    ),
    "classes": (
        Foreign(lambda x: tf.argmax(logits(x), 1)),
        r"has outputs of int64: a classifier has float32 class scores",
    ),
}


def features_of(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, constant_of(), 1, "VALID")


def constant_of() -> tf.Tensor:
    return tf.constant(np.random.default_rng(1).normal(size=(1, 1, 3, CLASSES)).astype(np.float32))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_classifier_of_images_is_refused(name: str, tmp_path: Path) -> None:
    foreign, message = REFUSED[name]
    with pytest.raises(SourceError, match=rf"^{re.escape(str(tmp_path))}/theirs\.tflite {message}"):
        opened(foreign.tflite(), tmp_path)


def test_a_compiled_file_is_refused(tmp_path: Path) -> None:
    theirs = compiled(residual_network())
    with pytest.raises(SourceError, match=r"is compiled for an Edge TPU \(edgetpu-custom-op\): convert what"):
        opened(theirs, tmp_path)


def test_a_quantized_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is quantized already \(int8 weights\): convert the float file"):
        opened(plain_dynamic(residual_network()), tmp_path)


def test_several_outputs_are_refused(tmp_path: Path) -> None:
    both = Foreign(lambda x: (tf.nn.softmax(logits(x)), pooled(x)))
    with pytest.raises(SourceError, match=r"has 2 outputs \(.*, .*\): an image classifier has one"):
        opened(both.tflite(), tmp_path)


def test_a_size_that_is_fixed_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"--input-size 20 differs from 12x10, the input size of .*leave it out"):
        opened(FOREIGN["logits"].tflite(), tmp_path, input_size=20)


def test_probabilities_that_are_not_known_as_such_are_refused(tmp_path: Path) -> None:
    """Halves of two rows add up to one; a softmax on top of them would flatten them."""
    half = np.full((8, CLASSES), 0, np.float32)
    foreign = Foreign(lambda x: tf.matmul(0 * pooled(x), half) + np.full(CLASSES, 1 / CLASSES, np.float32))
    with pytest.raises(LoweringError, match=r"answers probabilities, but by operators that are not known"):
        opened(foreign.tflite(), tmp_path).logits(images())


def test_it_becomes_int8_and_passes(tmp_path: Path) -> None:
    (tmp_path / "theirs.tflite").write_bytes(FOREIGN["channels first"].tflite())
    (outcome,) = convert_model(
        tmp_path / "theirs.tflite",
        preprocessing="tf",
        calibration=pictures(tmp_path / "calibration", 30),
        validation=pictures(tmp_path / "validation", 120),
        output_dir=tmp_path,
        thumbnails=False,
    )
    assert outcome.gate is not None
    assert outcome.gate.verdict == PASS
    assert outcome.drift is not None
    assert outcome.drift.sqnr_db > 25


def test_an_artifact_of_ours_says_all_about_itself(tmp_path: Path) -> None:
    (tmp_path / "theirs.tflite").write_bytes(FOREIGN["any batch, a shape that is computed"].tflite())
    labels = ["ant", "bee", "cow", "dog", "elk"]
    folder = pictures(tmp_path / "calibration", 20)
    first = convert_model(
        tmp_path / "theirs.tflite", schemes="none,int8", preprocessing="torch", labels=labels, io="float32",
        calibration=folder, validate=False, output_dir=tmp_path,
    )  # fmt: skip
    network = open_network(ModelSource(str(first[0].path)))
    with Classifier.open(first[0].path) as classifier:
        assert (network.spec(None), network.labels) == (classifier.spec, tuple(labels))
    with pytest.raises(SourceError, match=r"is an artifact of scheme int8: convert the network it was made from"):
        open_network(ModelSource(str(first[1].path)))


def test_the_origin_is_read_from_the_content(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(FOREIGN["logits"].tflite())
    assert ModelSource(str(tmp_path / "model.bin")).origin == TFLITE
    assert replace(ModelSource(str(tmp_path / "model.bin")), weights=Path("w.h5")).origin != TFLITE
