"""A flatbuffer as a graph: it reads what the interpreter reads, and what it changes the interpreter computes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from convert.errors import LoweringError
from convert.tflite.graph import TfliteGraph, layer_name, tensor_name
from convert.tflite.interpreter import RecordingEngine, logits_tensor
from edge_runtime.arrays import Array
from tests.edge_runtime.tiny_model import tiny_flatbuffer


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Return two convolutions, one padded, and two dense layers after them."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 9, 3), batch_size=1, name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", bias_initializer="normal")(image)
    x = keras.layers.Conv2D(5, 3, padding="valid")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(6, activation="relu", bias_initializer="normal")(x)
    return keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(3, bias_initializer="normal")(x)))


@pytest.fixture(scope="module")
def model(network: keras.Model) -> bytes:
    return bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())


@pytest.fixture
def graph(model: bytes) -> TfliteGraph:
    return TfliteGraph(model)


def run(model: bytes, image: Array) -> Array:
    return RecordingEngine(model).run(image)[0]


IMAGE = np.random.default_rng(0).uniform(-1, 1, (1, 8, 9, 3)).astype(np.float32)


def test_tensors_are_what_the_interpreter_says(model: bytes, graph: TfliteGraph) -> None:
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    details = {entry["index"]: entry for entry in interpreter.get_tensor_details()}
    for i in graph.tensors:
        assert graph.tensor_name(i) == details[i]["name"]
        assert graph.shape(i) == tuple(details[i]["shape"])
        assert graph.dtype(i) == np.dtype(details[i]["dtype"]).name
        assert graph.scales(i) is graph.zero_points(i) is None
        if graph.is_constant(i):
            assert np.array_equal(graph.constant(i), interpreter.get_tensor(i))


def test_operators_come_in_order(graph: TfliteGraph) -> None:
    names = [operator.name for operator in graph.operators]
    assert names == ["CONV_2D", "CONV_2D", "MEAN", "FULLY_CONNECTED", "FULLY_CONNECTED", "SOFTMAX"]
    first, second = graph.named("CONV_2D")
    assert graph.inputs == (first.inputs[0],)
    assert first.outputs == (second.inputs[0],)
    assert graph.outputs == graph.named("SOFTMAX")[0].outputs
    assert [convolution.is_unpadded for convolution in (first, second)] == [False, True]
    assert graph.named("DEPTHWISE_CONV_2D") == []


def test_consumers(graph: TfliteGraph) -> None:
    first, second = graph.named("CONV_2D")
    assert graph.consumers(first.outputs[0]) == [second]
    assert graph.consumers(second.weights) == [second], "constants too"
    assert graph.consumers(graph.outputs[0]) == []
    assert graph.consumers(-1) == graph.consumers(graph.inputs[0])[1:] == []


def test_producers(graph: TfliteGraph) -> None:
    first, second = graph.named("CONV_2D")
    assert graph.producer(second.inputs[0]) is first
    assert graph.producer(graph.inputs[0]) is graph.producer(first.weights) is None


def test_after_a_shift_of_the_input_the_operators_are_read_again(graph: TfliteGraph) -> None:
    source, first = graph.inputs[0], graph.consumers(graph.inputs[0])[0]
    graph.shift_input(0.5, "shifted")
    (addition,) = graph.consumers(source)
    assert (addition.name, addition.position) == ("ADD", 0)
    assert [operator.name for operator in graph.consumers(addition.outputs[0])] == [first.name]
    assert graph.producer(addition.outputs[0]) is addition


def test_no_tensor_is_no_constant(graph: TfliteGraph) -> None:
    """-1 stands for a missing bias, not for Python's last element."""
    graph._graph.tensors[-1].buffer = graph._graph.tensors[graph.named("CONV_2D")[0].weights].buffer
    assert not graph.is_constant(-1)


def test_weights_are_keras_own(graph: TfliteGraph, network: keras.Model) -> None:
    kernel, bias = next(layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)).get_weights()
    convolution = graph.named("CONV_2D")[0]
    assert np.array_equal(graph.constant(convolution.weights), kernel.transpose(3, 0, 1, 2))
    assert np.array_equal(graph.constant(convolution.inputs[2]), bias)


def test_writing_changes_no_answer(model: bytes, graph: TfliteGraph) -> None:
    again = graph.to_bytes()
    assert again[4:8] == b"TFL3"
    assert np.array_equal(run(again, IMAGE), run(model, IMAGE))
    assert TfliteGraph(again).to_bytes() == again
    assert TfliteGraph(again).signatures() == graph.signatures()
    assert TfliteGraph(again).minimum_runtime() == graph.minimum_runtime()


def test_equal_zero_points_are_written_once_and_read_by_each(network: keras.Model) -> None:
    """TensorFlow's converter writes 8 bytes a channel for weights, and again for biases."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter([[IMAGE]] * 3)
    theirs = bytes(converter.convert())
    ours = TfliteGraph(theirs).to_bytes()
    assert len(ours) < len(theirs) - 8 * (4 + 5)  # the weights' or the biases' of both convolutions
    before, after = (Interpreter(model_content=content) for content in (theirs, ours))
    for expected, read in zip(before.get_tensor_details(), after.get_tensor_details(), strict=True):
        for key in ("scales", "zero_points"):
            np.testing.assert_array_equal(
                read["quantization_parameters"][key], expected["quantization_parameters"][key]
            )
    np.testing.assert_array_equal(run(ours, IMAGE), run(theirs, IMAGE))


def test_a_changed_bias_changes_the_answer(model: bytes, graph: TfliteGraph) -> None:
    bias = graph.named("FULLY_CONNECTED")[-1].inputs[2]
    graph.set_constant(bias, graph.constant(bias) + np.float32([0, 1, 0]))
    before, after = np.log(run(model, IMAGE)), np.log(run(graph.to_bytes(), IMAGE))
    assert np.allclose((after - after[0]) - (before - before[0]), [0, 1, 0], atol=1e-5)
    assert np.array_equal(run(model, IMAGE), run(TfliteGraph(model).to_bytes(), IMAGE)), "the source stays"


def test_tensors_that_share_a_buffer_part_when_one_changes(model: bytes) -> None:
    """Converters store equal constants once."""
    graph = TfliteGraph(model)
    first, last = (operator.inputs[2] for operator in graph.named("FULLY_CONNECTED"))
    graph._graph.tensors[last].shape = [6]
    graph._graph.tensors[last].buffer = graph._graph.tensors[first].buffer
    kept = graph.constant(first).copy()
    assert np.array_equal(graph.constant(last), kept)
    graph.set_constant(last, np.zeros(6, np.float32))
    assert np.array_equal(graph.constant(first), kept)
    assert not graph.constant(last).any()


@pytest.mark.parametrize("values", [np.zeros(3, np.float64), np.zeros(4, np.float32)])
def test_constants_keep_their_dtype_and_shape(graph: TfliteGraph, values: Array) -> None:
    with pytest.raises(AssertionError):
        graph.set_constant(graph.named("FULLY_CONNECTED")[-1].inputs[2], values)


@pytest.mark.parametrize(
    ("dtype", "packed", "values"),
    [
        ("int4", [0x10, 0x8F, 0x07], [0, 1, -1, -8, 7]),
        ("uint4", [0x10, 0x8F, 0x07], [0, 1, 15, 8, 7]),
        ("int2", [0b11_10_01_00, 0b01], [0, 1, -2, -1, 1]),
    ],
)
def test_values_of_less_than_a_byte_are_unpacked_from_the_low_bits_up(
    dtype: str, packed: list[int], values: list[int], graph: TfliteGraph
) -> None:
    bias = graph.named("CONV_2D")[1].inputs[2]
    graph._graph.tensors[bias].type = getattr(schema.TensorType, dtype.upper())
    graph._buffer(bias).data = np.array(packed, np.uint8)
    assert graph.constant(bias).tolist() == values


def test_a_dimension_that_is_known_only_at_run_time_is_minus_one(network: keras.Model) -> None:
    image = keras.Input((8, 9, 3))
    free = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, network.layers[1](image))).convert()
    graph = TfliteGraph(bytes(free))
    assert graph.shape_signature(graph.inputs[0]) == (-1, 8, 9, 3)
    assert graph.shape(graph.inputs[0]) == (1, 8, 9, 3)


def test_kinds_of_operators_are_what_a_runtime_must_have(graph: TfliteGraph) -> None:
    kinds = [name for name, _, _ in graph.operator_kinds()]
    assert sorted(kinds) == ["CONV_2D", "FULLY_CONNECTED", "MEAN", "SOFTMAX"]
    graph._model.operatorCodes[0].builtinCode = graph._model.operatorCodes[0].deprecatedBuiltinCode = 32
    graph._model.operatorCodes[0].customCode = b"FlexConv2D"
    assert graph.operator_kinds()[0][::2] == ("CUSTOM", "FlexConv2D")
    assert graph.operators[0].custom == "FlexConv2D"


def test_metadata_is_added_replaced_and_read(model: bytes, graph: TfliteGraph) -> None:
    assert graph.metadata("ours") is None
    graph.set_metadata("ours", b"first")
    graph.set_metadata("ours", b"second")
    again = TfliteGraph(graph.to_bytes())
    assert again.metadata("ours") == b"second"
    assert again.minimum_runtime() == TfliteGraph(model).minimum_runtime(), "other entries stay"
    assert np.array_equal(run(again.to_bytes(), IMAGE), run(model, IMAGE))


def test_the_minimum_runtime_is_a_version(graph: TfliteGraph) -> None:
    assert all(part.isdigit() for part in graph.minimum_runtime().split("."))
    assert TfliteGraph(tiny_flatbuffer()).minimum_runtime() == "unknown"


def test_signatures_name_the_ends(graph: TfliteGraph) -> None:
    ((inputs, outputs),) = graph.signatures().values()
    assert list(inputs.values()) == list(graph.inputs)
    assert list(outputs.values()) == list(graph.outputs)
    assert TfliteGraph(tiny_flatbuffer()).signatures() == {}


def test_scales_of_quantized_tensors() -> None:
    from tests.edge_runtime.tiny_model import PIXEL_SCALE, TensorSpec

    graph = TfliteGraph(tiny_flatbuffer(TensorSpec("image", "uint8", PIXEL_SCALE, 128)))
    scales, zero_points = graph.scales(graph.inputs[0]), graph.zero_points(graph.inputs[0])
    assert scales is not None
    assert zero_points is not None
    assert (scales.tolist(), zero_points.tolist()) == ([np.float32(PIXEL_SCALE)], [128])
    assert graph.quantization(graph.inputs[0]) == (np.float32(PIXEL_SCALE), 128)
    assert graph.quantization(graph.outputs[0]) is None


@pytest.mark.parametrize(("scales", "zero_points"), [([0.5], [0]), ([0.5], [3]), ([0.5, 1, 2, 4], [0, 0, 1, 0])])
@pytest.mark.parametrize("dimension", [0, 3])
def test_a_constant_is_dequantized_along_its_quantized_dimension(
    scales: list[float], zero_points: list[int], dimension: int, graph: TfliteGraph
) -> None:
    weights = graph.named("CONV_2D")[0].weights
    stored = np.random.default_rng(0).integers(-127, 128, (4, 2, 2, 4), np.int8)
    tensor = graph._graph.tensors[weights]
    tensor.type, tensor.shape, tensor.quantization = (
        schema.TensorType.INT8,
        [4, 2, 2, 4],
        schema.QuantizationParametersT(),
    )
    tensor.quantization.scale, tensor.quantization.zeroPoint = np.float32(scales), np.int64(zero_points)
    tensor.quantization.quantizedDimension = dimension
    graph._buffer(weights).data = stored.reshape(-1).view(np.uint8)
    real = graph.dequantized(weights)
    for place in np.ndindex(stored.shape):
        channel = place[dimension] if len(scales) > 1 else 0
        assert real[place] == scales[channel] * (int(stored[place]) - zero_points[channel])


def test_logits_are_what_the_last_softmax_reads(model: bytes, graph: TfliteGraph) -> None:
    assert logits_tensor(graph) == graph.named("FULLY_CONNECTED")[-1].outputs[0]
    engine = RecordingEngine(model)
    (answer,) = engine.run(IMAGE)
    powers = np.exp(engine.tensor(logits_tensor(graph))[0])
    assert np.allclose(powers / powers.sum(), answer, atol=1e-6)


def test_a_model_without_softmax_is_refused() -> None:
    image = keras.Input((4, 4, 3), batch_size=1)
    headless = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    model = bytes(tf.lite.TFLiteConverter.from_keras_model(headless).convert())
    with pytest.raises(LoweringError, match="does not end in a softmax"):
        logits_tensor(TfliteGraph(model))


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x00" * 64, b"\x1c\x00\x00\x00TFL3" + b"\xff" * 64])
def test_what_is_no_flatbuffer_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(LoweringError, match=r"not a TFLite flatbuffer|subgraphs") as caught:
        TfliteGraph(content)
    assert "\n" not in str(caught.value)


def test_a_model_of_several_subgraphs_is_refused() -> None:
    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])  # type: ignore[misc]
    def branches(x: Any) -> Any:
        return tf.while_loop(lambda y: tf.reduce_sum(y) < 10, lambda y: [y + 1], [x])[0]

    model = tf.lite.TFLiteConverter.from_concrete_functions([branches.get_concrete_function()], branches).convert()
    with pytest.raises(LoweringError, match="the model has 3 subgraphs: a classifier has one"):
        TfliteGraph(bytes(model))


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("inception_1/stem_conv1_1/Relu;inception_1/stem_conv1_1/BiasAdd", "stem_conv1_1"),
        ("model/block_1/conv/BiasAdd", "block_1/conv"),
        ("dense_1/MatMul", "dense_1/MatMul"),
        ("StatefulPartitionedCall_1:0", "StatefulPartitionedCall_1:0"),
    ],
)
def test_a_layer_is_called_as_in_keras(tensor: str, name: str) -> None:
    assert layer_name(tensor) == name


@pytest.mark.parametrize("layer", ["stem_conv1", "block_1/conv"])
def test_what_we_name_is_read_back(layer: str) -> None:
    assert tensor_name("network", layer, "Relu") == f"network/{layer}/Relu"
    assert layer_name(tensor_name("network", layer, "Relu")) == layer
