"""A network in pieces computes what it computes whole, and what is changed before its turn has an effect."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from convert.lowering.translate import translate
from convert.quantization.quantize import quantize
from convert.quantization.schemes import SCHEMES, Recipe
from convert.quantization.statistics import collect_statistics
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from convert.tflite.piecewise import Piecewise, real, values_over
from edge_runtime.arrays import Array
from edge_runtime.preprocess import normalize
from tests.convert.lowering.translation.families import SIZE as SIDE
from tests.convert.lowering.translation.families import SPEC, family


@pytest.fixture(scope="module")
def model() -> bytes:
    """A residual block, so that one tensor is read long after it was computed."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), batch_size=1)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(image)
    y = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="second")(x)
    x = keras.layers.Conv2D(5, 1, name="third")(keras.layers.Add()([x, y]))
    network = keras.Model(image, keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(x)))
    return bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())


IMAGES = list(np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32))


def test_pieces_compute_what_the_whole_does(model: bytes) -> None:
    graph, engine = TfliteGraph(model), RecordingEngine(model)
    pieces, held = Piecewise(graph, IMAGES), [operator.outputs[0] for operator in graph.named("CONV_2D")]
    for operator in graph.named("CONV_2D"):
        pieces.advance(held)
        source = operator.inputs[0]
        assert pieces.knows(source)
        for number, image in enumerate(IMAGES):
            engine.run(image[np.newaxis])
            assert np.allclose(pieces.computed(source)[number][0], engine.tensor(source)[0], atol=1e-5)
        held.remove(operator.outputs[0])
    assert not pieces.knows(graph.inputs[0]), "what nothing reads any more is forgotten"


def test_weights_may_change_until_their_operator_runs(model: bytes) -> None:
    graph = TfliteGraph(model)
    first, second, _ = graph.named("CONV_2D")
    pieces = Piecewise(graph, IMAGES)
    pieces.advance([first.outputs[0]])
    graph.set_constant(first.weights, 2 * graph.constant(first.weights))
    pieces.advance([second.outputs[0]])
    engine = RecordingEngine(model)
    engine.run(IMAGES[0][np.newaxis])
    assert np.allclose(pieces.computed(second.inputs[0])[0][0], 2 * engine.tensor(first.outputs[0])[0], atol=1e-5)


def test_a_tensor_of_many_images_takes_in_each_when_its_turn_comes(model: bytes) -> None:
    graph, engine, taken = TfliteGraph(model), RecordingEngine(model), list[int]()

    def images() -> Iterator[Array]:
        for number in range(100):
            taken.append(number)
            yield IMAGES[number % 3]

    third = graph.named("CONV_2D")[2].outputs[0]
    for number, values in enumerate(values_over(graph, third, images())):
        assert len(taken) < number + 8, "a few are begun ahead"
        engine.run(IMAGES[number % 3][np.newaxis])
        assert np.allclose(values, engine.tensor(third)[0], atol=1e-5)
    assert len(taken) == 100


def test_a_head_that_unpacks_its_weights_leaves_the_image_as_it_is() -> None:
    """LiteRT 2.3 computes a piece wrongly where weights that it unpacks are an output beside others."""
    model, pixels = (
        translate(family("inception")),
        list(np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)),
    )
    recipe = Recipe(SCHEMES["int8"], "float32")
    graph = TfliteGraph(quantize(model, recipe, SPEC, collect_statistics(model, pixels, SPEC)[0]).model)
    assert {"ADD", "QUANTIZE", "DEQUANTIZE"} <= {operator.name for operator in graph.operators}
    pieces, first = Piecewise(graph, [normalize(each, SPEC) for each in pixels]), graph.named("CONV_2D")[0]
    pieces.advance([operator.outputs[0] for operator in graph.named("CONV_2D")])
    for number, each in enumerate(pixels):
        given = real(pieces.computed(first.inputs[0])[number][0], graph.quantization(first.inputs[0]))
        assert np.allclose(given, (each - 128.0) / 127.5, atol=1e-5)
