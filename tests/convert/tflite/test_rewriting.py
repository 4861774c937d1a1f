"""Changes to a graph: LiteRT computes what was meant, and nothing is left that nobody reads."""

from __future__ import annotations

import numpy as np
import pytest

from convert.tflite.float_writer import FloatWriter
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from convert.tflite.rewriting import GraphEditor

WEIGHTS = np.array([[1, 2], [3, 5], [0, 1]], np.float32)
X = np.array([[1, -2]], np.float32)


@pytest.fixture
def graph() -> GraphEditor:
    """softmax(relu(W x)), and a second, unread product; two tensors have the same name."""
    writer = FloatWriter()
    image = writer.tensor("x", (1, 2))
    weights = writer.constant("same", WEIGHTS)
    product, unread, positive, answer = (writer.tensor(name, (1, 3)) for name in ("same", "unread", "relu", "softmax"))
    writer.operator("FULLY_CONNECTED", [image, weights, writer.constant("bias", np.zeros(3, np.float32))], product)
    writer.operator("FULLY_CONNECTED", [image, writer.constant("others", 2 * WEIGHTS), -1], unread)
    writer.operator("RELU", [product], positive)
    writer.operator("SOFTMAX", [positive], answer, beta=1.0)
    return GraphEditor(writer.finish(image, answer))


def answer(graph: GraphEditor, x: np.ndarray = X) -> np.ndarray:
    return RecordingEngine(graph.to_bytes()).run(x)[0]


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z - z.max()) / np.exp(z - z.max()).sum()


def test_what_nobody_reads_is_dropped(graph: GraphEditor) -> None:
    before, size = answer(graph), len(graph.to_bytes())
    graph.drop_unused()
    assert [operator.name for operator in graph.operators] == ["FULLY_CONNECTED", "RELU", "SOFTMAX"]
    assert len(graph.tensors) == 6
    assert len({graph.tensor_name(i) for i in graph.tensors}) == 6
    assert "unread" not in {graph.tensor_name(i) for i in graph.tensors}
    assert len(graph.to_bytes()) < size
    again = TfliteGraph(graph.to_bytes())
    assert again.signatures() == {"serving_default": ({"image": again.inputs[0]}, {"probabilities": again.outputs[0]})}
    assert again.minimum_runtime() == "1.6.0"  # a buffer of metadata is still in its place
    np.testing.assert_array_equal(answer(graph), before)


def test_an_operator_is_replaced_by_another(graph: GraphEditor) -> None:
    (relu,) = graph.named("RELU")
    clipped = graph.add_operator("RELU6", relu.inputs, (1, 3), "clipped", position=relu.position)
    graph.replace(relu.outputs[0], clipped)
    graph.drop_unused()
    assert not graph.named("RELU")
    np.testing.assert_allclose(answer(graph, np.array([[8, 4]], np.float32)), softmax(np.array([6, 6, 4])), rtol=1e-6)


def test_a_computed_tensor_becomes_a_constant(graph: GraphEditor) -> None:
    (relu,) = graph.named("RELU")
    graph.freeze({relu.inputs[0]: np.array([[1, -1, 2]], np.float32)})
    graph.drop_unused()
    assert not graph.named("FULLY_CONNECTED")
    np.testing.assert_allclose(answer(graph), softmax(np.array([1, 0, 2])), rtol=1e-6)


def test_the_ends_move(graph: GraphEditor) -> None:
    (relu,) = graph.named("RELU")
    graph.set_ends(relu.inputs[0], relu.outputs[0])
    graph.drop_unused()
    assert [operator.name for operator in graph.operators] == ["RELU"]
    np.testing.assert_array_equal(answer(graph, np.array([[1, -1, 2]], np.float32)), [1, 0, 2])


def test_an_operand_is_added(graph: GraphEditor) -> None:
    dense = graph.named("FULLY_CONNECTED")[1]
    assert dense.bias is None
    bias = graph.add_constant("given", np.array([0, 0, 7], np.float32))
    graph.set_input_of(dense.position, 2, bias)
    graph.set_ends(graph.inputs[0], dense.outputs[0])
    graph.drop_unused()
    np.testing.assert_allclose(answer(graph), 2 * WEIGHTS @ X[0] + [0, 0, 7])
