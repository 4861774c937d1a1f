"""Float `.tflite` -> the same network, whose dense layers are convolutions of one pixel, but for the last.

Runtimes up to TensorFlow 2.9 use one scale of a FULLY_CONNECTED in int8 for all its channels, those up to 2.15 do so
where its input is float; a CONV_2D has a scale for each channel in all of them (`convert.audit.operator_versions.csv`).
As convolutions dense layers are also rounded (`gptq`), corrected and measured as such. XNNPACK computes both alike.

The last layer computes the logits: where it is a convolution of one pixel it becomes dense, so that every head is one.
"""

from __future__ import annotations

import math

import numpy as np

from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import CLASSIFIER_KINDS, CONVOLUTION, DENSE, Operator
from convert.tflite.rewriting import GraphEditor
from convert.tflite.schema import SCHEMA

RESHAPES = ("RESHAPE", "SQUEEZE")


def dense_as_convolutions(float_model: bytes) -> bytes:
    """Return a float network of static batch 1 with its last layer dense and other dense layers as convolutions.

    Tensors that layers compute keep their names; `float_model` itself is returned where there is nothing to change.
    """
    graph = GraphEditor(float_model)
    last = last_layer(graph)
    if last is None:
        return float_model
    dense = [operator for operator in graph.named(DENSE) if operator != last and _is_plain(graph, operator)]
    kernels = dict[int, int]()
    if _sees_one_pixel(graph, last):
        _make_dense(graph, last)
    elif not dense:
        return float_model
    for operator in reversed(dense):  # what is inserted moves the positions of those behind it
        _make_convolution(graph, operator, kernels)
    graph.drop_unused()
    _read_past_reshapes(graph)
    graph.drop_unused()
    return graph.to_bytes()


def last_layer(graph: TfliteGraph) -> Operator | None:
    """Return the last convolution or dense operator; None where there is none."""
    layers = [operator for operator in graph.operators if operator.name in CLASSIFIER_KINDS]
    return layers[-1] if layers else None


def _is_plain(graph: TfliteGraph, operator: Operator) -> bool:
    """Return whether a dense operator multiplies float rows by float constants."""
    constants = [i for i in operator.inputs[1:] if i >= 0]
    floats = all(graph.is_constant(i) and graph.dtype(i) == "float32" for i in constants)
    return floats and math.prod(graph.shape(operator.inputs[0])) % graph.shape(operator.weights)[1] == 0


def _sees_one_pixel(graph: TfliteGraph, operator: Operator) -> bool:
    """Return whether a convolution computes one pixel from one pixel, all channels from all."""
    if operator.name != CONVOLUTION or not _is_plain(graph, operator):
        return False
    channels = graph.shape(operator.weights)[3]
    return graph.shape(operator.weights)[1:3] == (1, 1) and graph.shape(operator.inputs[0]) == (1, 1, 1, channels)


def _make_convolution(graph: GraphEditor, operator: Operator, kernels: dict[int, int]) -> None:
    """Put RESHAPE, CONV_2D, RESHAPE in the place of a dense operator; `kernels`: weights -> those of a convolution."""
    outputs, width = graph.shape(operator.weights)
    rows, name, at = math.prod(graph.shape(operator.inputs[0])) // width, _name(graph, operator), operator.position
    if operator.weights not in kernels:
        values = graph.constant(operator.weights).reshape(outputs, 1, 1, width)
        kernels[operator.weights] = graph.add_constant(graph.tensor_name(operator.weights), values)
    bias = operator.bias
    if bias is None:
        bias = graph.add_constant(f"{name}/bias", np.zeros(outputs, np.float32))
    image = _reshaped(graph, operator.inputs[0], (1, rows, 1, width), f"{name}/rows", at)
    graph.rename(operator.outputs[0], f"{name}/dense")  # the convolution has the layer's name, and nothing else
    computed = graph.add_operator(
        CONVOLUTION,
        [image, kernels[operator.weights], bias],
        (1, rows, 1, outputs),
        name,
        at + 1,
        padding=SCHEMA.Padding.VALID,
        strideH=1,
        strideW=1,
        fusedActivationFunction=operator.options.fusedActivationFunction,
    )
    shape = graph.shape(operator.outputs[0])
    graph.replace(operator.outputs[0], _reshaped(graph, computed, shape, f"{name}/flat", at + 2))


def _make_dense(graph: GraphEditor, operator: Operator) -> None:
    """Put FULLY_CONNECTED, RESHAPE in the place of a convolution that sees one pixel."""
    outputs, _, _, width = graph.shape(operator.weights)
    name, at = _name(graph, operator), operator.position
    values = graph.constant(operator.weights).reshape(outputs, width)
    weights = graph.add_constant(graph.tensor_name(operator.weights), values)
    row = _reshaped(graph, operator.inputs[0], (1, width), f"{name}/row", at)
    graph.rename(operator.outputs[0], f"{name}/pixel")
    bias = [] if operator.bias is None else [operator.bias]
    activation = operator.options.fusedActivationFunction
    computed = graph.add_operator(
        DENSE, [row, weights, *bias], (1, outputs), name, at + 1, fusedActivationFunction=activation
    )
    image = _reshaped(graph, computed, (1, 1, 1, outputs), f"{name}/image", at + 2)
    graph.replace(operator.outputs[0], image)


def _name(graph: GraphEditor, operator: Operator) -> str:
    return graph.tensor_name(operator.outputs[0])


def _reshaped(graph: GraphEditor, tensor: int, shape: tuple[int, ...], name: str, position: int) -> int:
    """Insert a RESHAPE of a tensor, and return its output."""
    wanted = graph.add_constant(f"{name}/shape", np.array(shape, np.int32))
    return graph.add_operator("RESHAPE", [tensor, wanted], shape, name, position, newShape=list(shape))


def _read_past_reshapes(graph: GraphEditor) -> None:
    """Let what reads a tensor that was reshaped, and reshaped back, read the one before."""
    for operator in graph.operators:
        before = graph.producer(operator.inputs[0]) if operator.name in RESHAPES else None
        output = operator.outputs[0]
        if before is None or before.name not in RESHAPES or output in graph.outputs:
            continue
        source = before.inputs[0]
        if graph.shape(source) == graph.shape(output):
            graph.replace(output, source)
        else:
            graph.set_input_of(operator.position, 0, source)
