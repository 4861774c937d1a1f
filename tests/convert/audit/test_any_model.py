"""`irv2-inspect` on models that are no classifiers of ours: whatever LiteRT runs is read, and described as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from convert.audit import inspection
from convert.audit.inspection import inspect_model
from convert.tflite.graph import TfliteGraph
from edge_runtime.custom_operators import COMPILED
from tests.conftest import run_command
from tests.convert.audit.auditing import audit, found
from tests.edge_runtime import unusual_models
from tests.edge_runtime.compiled_models import compiled_file

RANDOM = np.random.default_rng(0)
KERNEL = tf.constant(RANDOM.normal(size=(3, 3, 3, 3)).astype(np.float32))


def converted(function: Callable[..., Any], *shapes: tuple[int, ...]) -> bytes:
    """Convert a function of float arrays with TensorFlow's own converter."""
    module = tf.Module()
    concrete = tf.function(function).get_concrete_function(*(tf.TensorSpec(shape) for shape in shapes))
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert())


def of_layers(*stack: Any, shape: tuple[int, ...], representative: bool = False, **settings: Any) -> bytes:
    """Convert a stack of Keras layers, with weights stored as the settings say."""
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input(batch_shape=(1, *shape)), *stack])
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = settings.pop("optimizations", [tf.lite.Optimize.DEFAULT])
    if representative:
        converter.representative_dataset = lambda: (
            [RANDOM.normal(size=(1, *shape)).astype(np.float32)] for _ in range(8)
        )
    converter.target_spec.supported_types = settings.pop("supported_types", [])
    for name, value in settings.items():
        setattr(converter, name, value)
    return bytes(converter.convert())


def repeated(image: Any) -> Any:
    def turn(count: Any, x: Any) -> tuple[Any, Any]:
        return count + 1, tf.nn.relu(tf.nn.conv2d(x, KERNEL, 1, "SAME"))

    return tf.while_loop(lambda count, _: count < 3, turn, [tf.constant(0), image])[1]


def either(image: Any) -> Any:
    return tf.cond(tf.reduce_sum(image) > 0, lambda: tf.nn.conv2d(image, KERNEL, 1, "SAME"), lambda: image)


def turned(image: Any) -> Any:
    return tf.while_loop(lambda count, _: count < 3, lambda count, x: (count + 1, either(x)), [tf.constant(0), image])[
        1
    ]


@pytest.mark.parametrize(
    ("function", "operator", "subgraphs"),
    [(repeated, "WHILE", 3), (either, "IF", 3), (turned, "WHILE", 5)],
    ids=["while", "if", "if in while"],
)
def test_convolutions_in_loops_and_branches_are_counted_with_their_weights(
    function: Callable[..., Any], operator: str, subgraphs: int, tmp_path: Path
) -> None:
    report = audit(converted(function, (1, 8, 8, 3)), tmp_path)
    assert report["operators"][operator] == 1
    assert len(report["subgraphs"]) == subgraphs
    assert [(layer["operator"], layer["channels"]) for layer in report["layers"]] == [("CONV_2D", 3)]
    assert report["weights"] == {"CONV_2D float32": 1}
    assert report["verdict"]["text"] == "NOT int8: float: 0 of 1 convolution int8"
    assert found(report) == {}


def test_every_signature_is_shown_with_the_ends_of_its_subgraph(tmp_path: Path) -> None:
    report = audit(unusual_models.two_signatures(), tmp_path)
    assert report["signatures"] == {key: {"inputs": ["image"], "outputs": ["scores"]} for key in ("classify", "again")}
    assert [(part["name"], part["operators"]) for part in report["subgraphs"]] == [("main", 3), ("again", 3)]
    assert [end["name"] for part in report["subgraphs"] for end in part["inputs"]] == ["image", "again/image"]
    finished = run_command("irv2-inspect", tmp_path / "model.tflite")
    assert finished.code == 0, finished.err
    assert "again: 3 operators, float32 [1, 8, 8, 3] -> float32 [1, 3]" in finished.out


def test_every_input_and_output_is_shown(tmp_path: Path) -> None:
    report = audit(unusual_models.with_ends(inputs=3, outputs=2), tmp_path)
    (main,) = report["subgraphs"]
    assert [(end["name"], end["shape"]) for end in main["inputs"]] == [
        ("image", [1, 8, 8, 3]),
        ("more_1", []),
        ("more_2", []),
    ]
    assert [end["name"] for end in main["outputs"]] == ["softmax", "logits"]
    assert report["ends"] == {"input": main["inputs"][0], "output": main["outputs"][0]}
    lines = run_command("irv2-inspect", tmp_path / "model.tflite").out.splitlines()
    first = lines.index(next(line for line in lines if line.startswith("inputs")))
    assert [line.removeprefix("inputs").removeprefix("outputs").strip() for line in lines[first : first + 5]] == [
        "float32 [1, 8, 8, 3]",
        "float32 []",
        "float32 []",
        "float32 [1, 3]",
        "float32 [1, 3]",
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_sparse_weights_are_those_of_the_operator_behind_densify(dtype: str, tmp_path: Path) -> None:
    report = audit(unusual_models.sparse(dtype), tmp_path)
    assert report["weights"] == {f"FULLY_CONNECTED {dtype}": 1}
    assert report["verdict"]["kind"] == {"float32": "float", "float16": "float16"}[dtype]
    assert found(report) == {}


def test_sparse_integer_weights_are_looked_at_with_their_zeros(tmp_path: Path) -> None:
    """Pruned and quantized by TensorFlow: blocks of zeros, per channel."""
    keras.utils.set_random_seed(2)
    image = keras.Input(batch_shape=(1, 8, 8, 3))
    network = keras.Model(image, layers.Dense(8)(layers.Flatten()(layers.Conv2D(32, 1)(layers.Conv2D(32, 3)(image)))))
    network.set_weights([w * (RANDOM.random(w.shape) < 0.1) if w.ndim > 1 else w for w in network.get_weights()])
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    converter.representative_dataset = lambda: ([RANDOM.normal(size=(1, 8, 8, 3)).astype(np.float32)] for _ in range(4))
    report = audit(bytes(converter.convert()), tmp_path)
    assert report["operators"]["DENSIFY"] >= 1
    assert report["verdict"]["kind"] == "int8"
    assert report["weights"] == {"CONV_2D int8 per-channel": 2, "FULLY_CONNECTED int8 per-channel": 1}
    assert not set(found(report)) & {"scale-count", "zero-point-invalid", "weights-hardly-used"}


def test_a_scalar_is_an_end_as_any_other(tmp_path: Path) -> None:
    report = audit(converted(lambda x: 2 * x + 1, ()), tmp_path)
    assert report["ends"]["input"]["shape"] == []
    assert report["verdict"]["text"] == "NOT int8: float: no convolution and no dense operator"


def test_an_open_side_is_shown_as_any(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()])
    report = audit(bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert()), tmp_path)
    assert report["ends"]["input"]["shape"] == [1, 1, 1, 3]
    assert report["ends"]["input"]["shape_signature"] == [-1, -1, -1, 3]
    assert "float32 [any, any, any, 3]" in run_command("irv2-inspect", tmp_path / "model.tflite").out


def test_a_recurrent_network_of_int8_weights_and_floats_is_dynamic(tmp_path: Path) -> None:
    """Its dense operators are in the body of a loop."""
    report = audit(of_layers(layers.LSTM(32), layers.Dense(4), shape=(8, 32)), tmp_path)
    assert report["operators"]["WHILE"] == 1
    assert report["weights"]["FULLY_CONNECTED int8 per-channel"] >= 1
    assert report["verdict"]["kind"] == "dynamic"


def test_a_recurrent_operator_that_reads_int8_weights_and_floats_is_dynamic() -> None:
    """As converters of TensorFlow 2 made them of Keras 2; of its inputs only the kinds count here."""
    graph = TfliteGraph(unusual_models.with_ends(1, 1))
    dense = graph.named("FULLY_CONNECTED")[0]
    graph.set_operator_kind(graph._graph.operators[dense.position].opcodeIndex, "UNIDIRECTIONAL_SEQUENCE_LSTM", 1)
    graph._graph.operators[dense.position].builtinOptions = None
    graph._graph.operators[dense.position].builtinOptionsType = 0
    weights, quantization = graph._graph.tensors[dense.weights], schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [0.1], [0]
    weights.type, weights.quantization = schema.TensorType.INT8, quantization
    verdict = inspect_model(graph.to_bytes()).verdict
    assert verdict.kind == "dynamic"
    assert verdict.text.endswith("activations are float: 0 of 1 recurrent operator int8")


def test_pixels_that_are_passed_on_are_no_integer_arithmetic(tmp_path: Path) -> None:
    def network(pixels: Any) -> Any:
        return tf.nn.conv2d(tf.cast(tf.reshape(pixels, (1, 8, 8, 3)), tf.float32), KERNEL, 1, "SAME")

    module, pixels = tf.Module(), tf.TensorSpec((1, 192), tf.uint8)
    concrete = tf.function(network).get_concrete_function(pixels)
    model = bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert())
    assert audit(model, tmp_path)["verdict"]["kind"] == "float"


def test_a_table_of_int8_entries_does_not_make_a_float_network_integer(tmp_path: Path) -> None:
    """Words are looked up in integers, and everything is computed in floats."""
    stack = layers.Embedding(500, 16), layers.GlobalAveragePooling1D(), layers.Dense(3, activation="softmax")
    report = audit(of_layers(*stack, shape=(20,)), tmp_path)
    assert report["operators"]["GATHER"] == 1
    assert report["verdict"]["kind"] == "weights-only"
    half = audit(of_layers(*stack, shape=(20,), supported_types=[tf.float16]), tmp_path)
    assert half["verdict"]["kind"] == "float16"


def test_convolutions_of_three_dimensions_count(tmp_path: Path) -> None:
    stack = layers.Conv3D(4, 3), layers.GlobalAveragePooling3D()
    report = audit(of_layers(*stack, shape=(6, 6, 6, 3), optimizations=[]), tmp_path)
    assert report["layers"][0]["operator"] == "CONV_3D"
    assert report["layers"][0]["channels"] == 4
    assert report["verdict"]["text"] == "NOT int8: float: 0 of 1 convolution int8"


def test_a_scale_that_works_is_no_error_however_small(int8: TfliteGraph, tmp_path: Path) -> None:
    for index in int8.tensors:
        scales = int8.scales(index)
        if scales is not None and not int8.is_constant(index):
            int8.set_scales(index, scales * np.float32(1e-34))
    model = int8.to_bytes()
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert "scale-invalid" not in found(audit(model, tmp_path))


@pytest.mark.parametrize(
    ("pixels", "is_found"),
    [
        (lambda noise: noise / 127.5 - 1, False),
        (lambda noise: noise / 255, False),
        (lambda noise: noise - [103.939, 116.779, 123.68], False),
        (lambda noise: 0 * noise, True),
        (lambda noise: 100 * noise, True),
    ],
    ids=["tf", "unit", "caffe", "black", "far too large"],
)
def test_an_input_that_no_pixels_fill_is_found(pixels: Callable[[Any], Any], is_found: bool, tmp_path: Path) -> None:
    network = keras.Sequential([keras.Input(batch_shape=(1, 8, 8, 3)), layers.Conv2D(4, 3)])
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    noise = RANDOM.integers(0, 256, (4, 1, 8, 8, 3))
    noise[0, :, 0], noise[0, :, 1] = 0, 255
    converter.representative_dataset = lambda: ([pixels(image).astype(np.float32)] for image in noise)
    converter.inference_input_type = tf.int8
    findings = audit(bytes(converter.convert()), tmp_path)["findings"]
    assert ("input-range" in {finding["check"] for finding in findings}) == is_found


def test_what_the_audit_does_not_know_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise KeyError("HOLOGRAM")

    path = tmp_path / "model.tflite"
    path.write_bytes(unusual_models.branching())
    monkeypatch.setattr(inspection.verdict, "judge", fails)
    with pytest.raises(inspection.LoweringError) as caught:
        inspection.inspect_file(path)
    assert "damaged" not in str(caught.value)
    assert str(caught.value).startswith(f"{path} holds something that irv2-inspect does not know (KeyError 'HOLOGRAM')")
    assert "\n" not in str(caught.value)


def test_a_small_file_that_claims_a_huge_constant_is_one_line(tmp_path: Path) -> None:
    graph = TfliteGraph(unusual_models.sparse())
    weights, quantization = graph._graph.tensors[unusual_models.WEIGHTS], schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [0.1], [0]
    weights.type, weights.quantization, weights.shape = schema.TensorType.INT8, quantization, [3, 2**31 - 1]
    graph._graph.tensors[-1].shape = weights.shape
    graph._buffer(unusual_models.WEIGHTS).data = np.ones(3, np.uint8)
    path = tmp_path / "model.tflite"
    path.write_bytes(graph.to_bytes())
    finished = run_command("irv2-inspect", path)
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert "needs more memory than such a file should" in finished.err


def test_a_constant_of_fewer_bytes_than_its_shape_is_damage(int8: TfliteGraph, tmp_path: Path) -> None:
    weights = int8.named("CONV_2D")[1].weights
    int8._buffer(weights).data = int8._buffer(weights).data[:-1]
    path = tmp_path / "model.tflite"
    path.write_bytes(int8.to_bytes())
    finished = run_command("irv2-inspect", path)
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert f"{path}: it is damaged, its constant {int8.tensor_name(weights)!r} has " in finished.err


def test_types_and_operators_of_a_later_schema_are_shown_by_number() -> None:
    graph = TfliteGraph(unusual_models.with_ends(1, 1))
    graph._graph.tensors[0].type = 99
    graph._model.operatorCodes[0].builtinCode = 9999
    report = inspect_model(graph.to_bytes())
    assert report.ends["input"]["dtype"] == "type 99"
    assert report.operators["UNKNOWN"] == 1


@pytest.mark.parametrize("operator", COMPILED)
def test_what_a_vendor_compiled_is_not_called_float_nor_integer(operator: str, tmp_path: Path) -> None:
    path = compiled_file(tmp_path / "compiled.tflite", operator)
    finished = run_command("irv2-inspect", path, "--require", "int8")
    assert finished.code == 3
    assert finished.out.startswith("compiled for its hardware, which hides what is computed how")
    said = " ".join(finished.out.split())
    assert f"for {COMPILED[operator].name}: {COMPILED[operator].advice}" in said
    assert "irv2-convert attach" in said
    assert "built-in operators" not in said
    assert "oldest runtime tflite-runtime-2.7 or older" in said, "the rest of it runs anywhere"


def test_other_custom_operators_may_have_a_delegate(tmp_path: Path) -> None:
    finished = run_command("irv2-inspect", compiled_file(tmp_path / "custom.tflite", "a-vendor-nobody-knows"))
    assert "pass --delegate with the library that computes them, or convert" in " ".join(finished.out.split())
