"""A graph is refused where its operators do not fit together; each case below was seen to kill LiteRT 2.3, or might."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime import ArtifactError
from edge_runtime._graph_check import check_dataflow
from edge_runtime.custom_operators import COMPILED
from edge_runtime.specs import TensorSpec
from tests.edge_runtime import unusual_models
from tests.edge_runtime.compiled_models import compiled, with_memory
from tests.edge_runtime.tiny_model import INT8_ANSWER, UINT8, tiny_flatbuffer

IMAGE, AXES, COLOUR, WEIGHTS, LOGITS, BIAS, SOFTMAX = range(7)
"""Tensors of the tiny network."""
MEAN, DENSE, SOFTMAX_OPERATOR = range(3)


def changed(change: Callable[[Any], object]) -> bytes:
    """Return the tiny network with its only subgraph changed, as a well-formed flatbuffer."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_flatbuffer()))
    change(model.subgraphs[0])
    return packed(model)


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def setter(path: str, value: object) -> Callable[[Any], None]:
    """Return what sets "operators.1.inputs" and the like."""
    *steps, last = path.split(".")

    def change(node: Any) -> None:
        for step in steps:
            node = node[int(step)] if step.isdecimal() else getattr(node, step)
        setattr(node, last, value)

    return change


@pytest.mark.parametrize(
    "end",
    [TensorSpec("image", "float32"), TensorSpec("image", "uint8", 1 / 127.5, 127, "pixels")],
    ids=lambda end: end.dtype,
)
def test_a_sound_graph_passes_as_file_and_as_bytes(end: TensorSpec, tmp_path: Path) -> None:
    model = tiny_flatbuffer(end)
    (tmp_path / "model.tflite").write_bytes(model)
    operators = schema.Model.GetRootAs(model).Subgraphs(0).OperatorsLength()
    assert check_dataflow(model) == check_dataflow(tmp_path / "model.tflite") == operators


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (f"operators.{MEAN}.outputs", [WEIGHTS], f"operator {MEAN} writes tensor {WEIGHTS}, which is a constant"),
        (f"tensors.{COLOUR}.buffer", 2, f"operator {MEAN} writes tensor {COLOUR}, which is a constant"),
        (f"operators.{MEAN}.outputs", [IMAGE], f"operator {MEAN} writes tensor {IMAGE}, .* already written"),
        (f"operators.{SOFTMAX_OPERATOR}.outputs", [LOGITS], f"operator 2 writes tensor {LOGITS}, .* already written"),
        (f"operators.{MEAN}.outputs", [7], f"operator {MEAN} writes tensor 7 of 7"),
        (f"operators.{MEAN}.outputs", [-1], f"operator {MEAN} writes tensor -1 of 7"),
        (f"operators.{MEAN}.inputs", [SOFTMAX, AXES], f"operator {MEAN} reads tensor {SOFTMAX}, which nothing"),
        (f"operators.{DENSE}.inputs", [99, WEIGHTS, BIAS], f"operator {DENSE} reads tensor 99, which nothing"),
        (f"operators.{DENSE}.inputs", [-2, WEIGHTS, BIAS], f"operator {DENSE} reads tensor -2, which nothing"),
        ("inputs", [BIAS], f"its input is tensor {BIAS} of 7, which is a constant"),
        ("inputs", [-1], "its input is tensor -1 of 7"),
        ("outputs", [99], "its output, tensor 99, is written by nothing"),
        (f"tensors.{AXES}.buffer", 1000, "list index out of range"),
    ],
)  # fmt: skip
def test_operators_that_do_not_fit_together_are_refused(path: str, value: object, complaint: str) -> None:
    with pytest.raises(ArtifactError, match=f"^the model is damaged, its graph does not hold together: .*{complaint}"):
        check_dataflow(changed(setter(path, value)))


def with_inputs(code: int, inputs: list[int]) -> bytes:
    """Return the tiny network with another operator of these inputs in place of its softmax."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_flatbuffer()))
    operator = model.subgraphs[0].operators[SOFTMAX_OPERATOR]
    kind = model.operatorCodes[operator.opcodeIndex]
    kind.builtinCode, kind.deprecatedBuiltinCode = code, min(code, 127)
    operator.inputs = inputs
    return packed(model)


@pytest.mark.parametrize(
    ("name", "needed"),
    [("BATCH_MATMUL", 2), ("DEPTHWISE_CONV_2D", 3), ("SLICE", 3), ("STRIDED_SLICE", 4), ("ASSIGN_VARIABLE", 2)],
)
def test_kernels_that_read_more_inputs_than_there_are_never_run(name: str, needed: int) -> None:
    """LiteRT 2.3 reads what stands behind the last one, and crashes or not by what lies there."""
    code = getattr(schema.BuiltinOperator, name)
    check_dataflow(with_inputs(code, [LOGITS, *[BIAS] * (needed - 1)]))
    for count in range(needed):
        with pytest.raises(ArtifactError, match=f"operator {SOFTMAX_OPERATOR} lacks one of {needed} inputs"):
            check_dataflow(with_inputs(code, [LOGITS, *[BIAS] * (needed - 1)][:count]))


@pytest.mark.parametrize(
    ("name", "inputs", "needed"),
    [
        ("ADD", [LOGITS, -1], 2),
        ("SQUEEZE", [-1], 1),
        ("CONCATENATION", [LOGITS, BIAS, -1], 3),
        ("FULLY_CONNECTED", [LOGITS, -1, BIAS], 2),
        ("CONV_2D", [-1, WEIGHTS, BIAS], 2),
        ("TRANSPOSE_CONV", [AXES, WEIGHTS, -1], 3),
        ("IF", [BIAS, -1], 2),
    ],
)
def test_an_input_that_is_not_optional_is_not_omitted(name: str, inputs: list[int], needed: int) -> None:
    """LiteRT 2.3 follows the null pointer that stands for it."""
    with pytest.raises(ArtifactError, match=f"operator {SOFTMAX_OPERATOR} lacks one of {needed} inputs"):
        check_dataflow(with_inputs(getattr(schema.BuiltinOperator, name), inputs))


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("CONV_2D", [LOGITS, WEIGHTS, -1]),
        ("FULLY_CONNECTED", [LOGITS, WEIGHTS]),
        ("TRANSPOSE_CONV", [AXES, WEIGHTS, LOGITS, -1]),
        ("SVDF", [LOGITS, WEIGHTS, WEIGHTS, -1, BIAS]),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", [LOGITS, -1, *[WEIGHTS] * 3, -1, *[WEIGHTS] * 3, *[-1] * 4, *[BIAS] * 5]),
        ("CUSTOM", [-1, LOGITS]),
    ],
)
def test_an_input_that_is_optional_may_be_omitted(name: str, inputs: list[int]) -> None:
    check_dataflow(with_inputs(getattr(schema.BuiltinOperator, name), inputs))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"operators.{DENSE}.inputs", [COLOUR, WEIGHTS, -1]),  # no bias
        ("outputs", [IMAGE]),  # passed through
        ("outputs", [BIAS]),
        (f"tensors.{WEIGHTS}.shape", [0, 3]),
    ],
)
def test_what_is_unusual_and_sound_passes(path: str, value: object) -> None:
    check_dataflow(changed(setter(path, value)))


@pytest.mark.parametrize("operator", COMPILED)
def test_memory_and_constants_of_a_vendor_s_hardware_are_no_damage(operator: str) -> None:
    """Vela gives an Ethos-U four tensors before the image: commands and weights without a scale, and memory."""
    check_dataflow(with_memory(compiled(tiny_flatbuffer(UINT8, INT8_ANSWER), operator)))


def test_of_no_other_operator_may_inputs_be_written_by_nothing() -> None:
    with pytest.raises(ArtifactError, match=r"operator 0 reads tensor \d+, which nothing has written"):
        check_dataflow(with_memory(compiled(tiny_flatbuffer(), "TFLite_Detection_PostProcess")))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_flatbuffer()))
    model.operatorCodes[MEAN].customCode = b"ethos-u"  # LiteRT goes by the code, and computes a mean
    model.subgraphs[0].operators[MEAN].inputs = [SOFTMAX, AXES]
    with pytest.raises(ArtifactError, match=f"operator {MEAN} reads tensor {SOFTMAX}, which nothing has written"):
        check_dataflow(packed(model))


@pytest.mark.parametrize("index", [-2, 99])
def test_what_a_compiled_operator_reads_must_exist(index: int) -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(with_memory(compiled(tiny_flatbuffer()))))
    model.subgraphs[0].operators[0].inputs = [index, IMAGE]
    with pytest.raises(ArtifactError, match=f"operator 0 reads tensor {index}, which nothing has written"):
        check_dataflow(packed(model))


def integers(code: int, before: list[float], after: list[float], constant: list[float] | None = None) -> bytes:
    """Return the tiny network with another first operator, of int8 tensors with these scales."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_flatbuffer()))
    model.operatorCodes[MEAN].builtinCode = model.operatorCodes[MEAN].deprecatedBuiltinCode = code
    for number, scales in ((IMAGE, before), (COLOUR, after), (AXES, constant or [1.0])):
        tensor = model.subgraphs[0].tensors[number]
        tensor.type, tensor.quantization = schema.TensorType.INT8, schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = scales, [0] * len(scales)
    return packed(model)


def doubling(unit: float) -> bytes:
    """Return x + x in int8, at scales of a unit and of two."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(integers(schema.BuiltinOperator.ADD, [unit], [2 * unit])))
    graph = model.subgraphs[0]
    graph.operators, graph.outputs = graph.operators[:1], [COLOUR]
    graph.operators[0].inputs = [IMAGE, IMAGE]
    graph.operators[0].builtinOptions = schema.AddOptionsT()
    graph.operators[0].builtinOptionsType = schema.BuiltinOptions.AddOptions
    for number in (IMAGE, COLOUR):
        graph.tensors[number].shape = [21]
    return packed(model)


ADD, MEAN_CODE, CAST = schema.BuiltinOperator.ADD, schema.BuiltinOperator.MEAN, schema.BuiltinOperator.CAST
SQUARED = schema.BuiltinOperator.SQUARED_DIFFERENCE


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (integers(MEAN_CODE, [0.0], [1.0]), "operator 0 has a scale of 0"),
        (integers(MEAN_CODE, [1.0], [-1.0]), "operator 0 has a scale of -1"),
        (integers(MEAN_CODE, [1e-38], [1.0]), "operator 0 has a scale of 1e-38"),
        (integers(MEAN_CODE, [1.0], [float("inf")]), "operator 0 has a scale of inf"),
        (integers(MEAN_CODE, [float("nan")], [1.0]), "operator 0 has a scale of nan"),
        (integers(MEAN_CODE, [], [1.0]), "operator 0 takes integers with a scale to integers without"),
        (integers(MEAN_CODE, [1.0], []), "operator 0 takes integers with a scale to integers without"),
        (integers(ADD, [1.0], [1e-6], [1e-6]), "operator 0 has a sum of scale 1e-06, too fine"),
        (integers(ADD, [1e-6], [1e-6], [1.0]), "operator 0 has a sum of scale 1e-06, too fine"),
        (integers(ADD, [1.0], [1.0], [0.0]), "operator 0 has a scale of 0"),
        (integers(SQUARED, [1.0], [2e-4], [1.0]), "operator 0 has squares of scale 0.0002, too fine"),
        (integers(SQUARED, [1e-3], [2e-10], [1e-4]), "operator 0 has squares of scale 2e-10, too fine"),
    ],
)  # fmt: skip
def test_integers_with_scales_that_kernels_cannot_use_are_refused(model: bytes, complaint: str) -> None:
    with pytest.raises(ArtifactError, match=complaint):
        check_dataflow(model)


@pytest.mark.parametrize(
    "model",
    [
        integers(MEAN_CODE, [1.0], [1e-6]),
        integers(MEAN_CODE, [1.0], [1.0], [0.0]),  # of a constant: a channel of zeros
        integers(MEAN_CODE, [], []),
        integers(CAST, [1.0], []),
        integers(ADD, [1.0], [1e-3], [1e-3]),
        integers(ADD, [1.0], [1e-5], [1e-5]),
        integers(ADD, [3e-35], [3e-35], [3e-35]),
        integers(MEAN_CODE, [3e-35], [1.2e-38]),
        integers(SQUARED, [1.0], [3e-4], [1.0]),
        integers(SQUARED, [1e-3], [3e-10], [1e-4]),
    ],
)
def test_scales_that_are_unusual_and_sound_pass(model: bytes) -> None:
    check_dataflow(model)


@pytest.mark.parametrize(
    "model",
    [
        unusual_models.branching(),
        unusual_models.two_signatures(),
        unusual_models.sparse(),
        unusual_models.sparse("float16"),
        unusual_models.with_ends(3, 2),
    ],
)
def test_graphs_of_any_form_pass_where_litert_runs_them(model: bytes) -> None:
    check_dataflow(model)
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    interpreter.invoke()


def test_a_scale_of_3e_35_works_as_any_other() -> None:
    """An integer network on tiny numbers answers what it answers on a million million million million million times."""
    answers = []
    for unit in (1.0, 3e-35):
        interpreter = Interpreter(model_content=doubling(unit))
        interpreter.allocate_tensors()
        check_dataflow(doubling(unit))
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.arange(-10, 11, dtype=np.int8))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist())
    assert answers[0] == answers[1] == list(range(-10, 11))


def test_variables_are_there_from_the_start() -> None:
    def change(graph: Any) -> None:
        state = schema.TensorT()
        state.shape, state.isVariable = [1, 3], True
        graph.tensors.append(state)
        graph.operators[DENSE].inputs = [len(graph.tensors) - 1, WEIGHTS, BIAS]

    check_dataflow(changed(change))


def test_a_constant_behind_the_flatbuffer_is_one() -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_flatbuffer()))
    outside = schema.BufferT()
    outside.offset, outside.size = 4096, 12
    model.buffers.append(outside)
    model.subgraphs[0].tensors[COLOUR].buffer = len(model.buffers) - 1
    with pytest.raises(ArtifactError, match=f"writes tensor {COLOUR}, which is a constant"):
        check_dataflow(packed(model))


def test_tables_that_share_their_vectors_cannot_spell_out_more_than_the_file_holds() -> None:
    """2,000 operators that are one, with 20,000 inputs: 40 million numbers in a file of 90 kB."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(tiny_flatbuffer()))
    operators = model.subgraphs[0].operators
    operators[MEAN].inputs = np.zeros(20_000, np.int32)
    operators += [operators[DENSE]] * 2000
    content = bytearray(packed(model))
    graph = schema.Model.GetRootAs(content).Subgraphs(0)
    first, vector = graph.Operators(0)._tab.Pos, graph._tab.Vector(graph._tab.Offset(10))
    for i in range(graph.OperatorsLength()):
        struct.pack_into("<I", content, vector + 4 * i, first - (vector + 4 * i))
    assert graph.Operators(1999).InputsLength() == 20_000
    with pytest.raises(ArtifactError, match="more entries than bytes"):
        check_dataflow(bytes(content))


def test_scales_that_no_operator_needs_must_lie_in_the_file_too() -> None:
    """Those of the weights are not read, for there are many; as many as are said to be there must be."""
    content = bytearray(changed(setter(f"tensors.{WEIGHTS}.quantization", scales([0.25] * 3))))
    graph = schema.Model.GetRootAs(content).Subgraphs(0)
    quantization = graph.Tensors(WEIGHTS).Quantization()
    length_at = quantization._tab.Vector(quantization._tab.Offset(8)) - 4
    check_dataflow(bytes(content))
    struct.pack_into("<I", content, length_at, (len(content) - length_at) // 4)
    with pytest.raises(ArtifactError, match=rf"an offset of {length_at + 4} leads out of its {len(content)} bytes"):
        check_dataflow(bytes(content))


def scales(values: list[float]) -> Any:
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = values, [0] * len(values)
    return quantization


def test_a_missing_and_an_empty_file_are_artifact_errors(tmp_path: Path) -> None:
    (tmp_path / "empty.tflite").touch()
    with pytest.raises(ArtifactError, match=r"missing.tflite cannot be read: No such file"):
        check_dataflow(tmp_path / "missing.tflite")
    with pytest.raises(ArtifactError, match=r"empty.tflite is damaged"):
        check_dataflow(tmp_path / "empty.tflite")


@given(st.data())
def test_any_bytes_are_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(tiny_flatbuffer())
    for _ in range(data.draw(st.integers(0, 8))):
        at = data.draw(st.integers(0, len(content) - 4))
        content[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    with suppress(ArtifactError):
        check_dataflow(bytes(content[: data.draw(st.integers(0, len(content)))]))
