"""Models of several subgraphs are read as one graph; others stay refused where a classifier is meant."""

from __future__ import annotations

import pytest

from convert.errors import LoweringError
from convert.tflite.graph import TfliteGraph
from convert.tflite.subgraphs import JoinedGraph
from tests.convert.networks import residual_network
from tests.edge_runtime import unusual_models
from tests.edge_runtime.tiny_model import tiny_flatbuffer


def test_the_tensors_of_all_subgraphs_are_numbered_through_and_named_apart() -> None:
    graph = JoinedGraph(unusual_models.two_signatures())
    tiny = TfliteGraph(tiny_flatbuffer())
    names = [tiny.tensor_name(i) for i in tiny.tensors]
    assert [graph.tensor_name(i) for i in graph.tensors] == names + [f"again/{name}" for name in names]
    assert [operator.name for operator in graph.operators] == ["MEAN", "FULLY_CONNECTED", "SOFTMAX"] * 2
    count = len(names)
    assert [tuple(i - count for i in op.outputs) for op in graph.operators[3:]] == [op.outputs for op in tiny.operators]


def test_each_subgraph_keeps_its_ends_and_each_signature_its_subgraph() -> None:
    graph = JoinedGraph(unusual_models.two_signatures())
    assert [(part.name, part.operators) for part in graph.subgraphs] == [("main", 3), ("again", 3)]
    for part, (inputs, outputs) in zip(graph.subgraphs, graph.signatures().values(), strict=True):
        assert (tuple(inputs.values()), tuple(outputs.values())) == (part.inputs, part.outputs)
    assert graph.inputs == graph.subgraphs[0].inputs + graph.subgraphs[1].inputs
    assert graph.tensor_name(graph.subgraphs[1].inputs[0]) == "again/image"


def test_a_constant_that_a_call_gives_is_read_as_one() -> None:
    graph = JoinedGraph(unusual_models.branching())
    light, dark = graph.named("FULLY_CONNECTED")
    assert graph.constant(light.weights).tolist() == graph.constant(dark.weights).tolist()
    assert graph.tensor_name(light.weights) == "weights"  # of the caller


def test_a_model_of_one_subgraph_is_read_as_ever() -> None:
    model = residual_network()
    joined, plain = JoinedGraph(model), TfliteGraph(model)
    assert [(op.name, op.inputs, op.outputs) for op in joined.operators] == [
        (op.name, op.inputs, op.outputs) for op in plain.operators
    ]
    assert (joined.inputs, joined.outputs, joined.signatures()) == (plain.inputs, plain.outputs, plain.signatures())


def test_what_changes_graphs_still_takes_those_of_one_subgraph_alone() -> None:
    with pytest.raises(LoweringError, match="the model has 3 subgraphs: a classifier has one"):
        TfliteGraph(unusual_models.branching())
