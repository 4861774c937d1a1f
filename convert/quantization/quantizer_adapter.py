"""litert-quantizer behind one function; the only module that imports it.

Its class `Quantizer` would open the float network in an interpreter to look for ranges that are missing: a second more
on the demo network, for each of the many models that --recover and the calibrator "auto" try. Our ranges are complete,
so the public classes are used that `Quantizer` consists of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.tools import flatbuffer_utils
from litert_quantizer.model_modifier import ModelModifier
from litert_quantizer.params_generator import ParamsGenerator
from litert_quantizer.recipe_manager import RecipeManager

from convert.quantization.schemes import Rule
from convert.quantization.stand_ins import stand_in
from convert.tflite import schema
from convert.tflite.graph import TfliteGraph
from convert.tflite.schema import SCHEMA
from edge_runtime.arrays import Array

CASTING = "float_casting"
"""The algorithm of half-precision rules, which take weights of any size."""

LARGEST = 32 * 2**20
"""Bytes of float weights."""

Ranges = dict[str, tuple[float, float]]
"""Tensor name -> smallest and largest value."""


def apply_rules(model: bytes, rules: Sequence[Rule], ranges: Ranges, activation_bits: int | None = None) -> TfliteGraph:
    """Quantize a float `.tflite` by rules, given the range of every activation.

    With `activation_bits`, which must be those of the rules, `STAND_INS` are quantized as well, and otherwise not.

    Weights get scale = max|w| / 127 per output channel and are rounded to nearest. Large constants come back behind the
    flatbuffer, where older runtimes and our zip do not expect them; the graph that is returned writes them inside.
    """
    if not rules:
        return TfliteGraph(model)
    manager, float_model = RecipeManager(), flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    manager.load_quantization_recipe(list(rules))
    own_names = stand_in(float_model.operatorCodes, activation_bits)
    large = {} if any(rule["algorithm_key"] == CASTING for rule in rules) else _set_aside(float_model)
    statistics = {name: _extremes(*ends) for name, ends in ranges.items()}
    with np.errstate(invalid="ignore"):  # of biases that do not fit, see `convert.quantization.bias_range`
        parameters = ParamsGenerator(float_model).generate_quantization_parameters(manager, statistics, False)
    quantized = ModelModifier(float_model).modify_model(parameters, enable_progress_bar=False)
    graph = TfliteGraph(bytes(quantized))
    _put_back(graph, large)
    for index, (kind, version) in own_names.items():
        graph.set_operator_kind(index, kind, version)
    return graph


def _set_aside(model: Any) -> dict[str, Array]:
    """Replace large weights of convolutions by each channel's extremes, which have the same scales; return the weights.

    litert-quantizer 0.11 fails on those of more than `LARGEST`, which it takes in parts: VGG16 has some.
    """
    graph, aside = model.subgraphs[0], dict[str, Array]()
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) != SCHEMA.BuiltinOperator.CONV_2D:
            continue
        tensor = graph.tensors[operator.inputs[1]]
        buffer = model.buffers[tensor.buffer]
        if tensor.type != SCHEMA.TensorType.FLOAT32 or buffer.data is None or len(buffer.data) <= LARGEST:
            continue
        weights = np.frombuffer(bytes(buffer.data), np.float32).reshape(tensor.shape)
        extremes = np.stack([weights.min(axis=(1, 2, 3)), weights.max(axis=(1, 2, 3))], axis=-1)[:, None, None]
        buffer.data, tensor.shape = schema.as_bytes(extremes), np.array(extremes.shape, np.int32)
        aside[tensor.name.decode()] = weights
    return aside


def _put_back(graph: TfliteGraph, aside: dict[str, Array]) -> None:
    """Give a quantized graph the weights that were set aside, in the data type and with the scales that it has."""
    for name, weights in aside.items():
        stand_ins = [i for i in graph.tensors if graph.shape(i) == (len(weights), 1, 1, 2)]
        for index in (i for i in stand_ins if graph.tensor_name(i).startswith(name)):
            scales, dtype = graph.scales(index), graph.dtype(index)
            if scales is None:
                graph.replace_constant(index, weights.astype(dtype))
            else:
                graph.replace_constant(index, np.rint(weights / scales.reshape(-1, 1, 1, 1)).astype(dtype))


def _extremes(low: float, high: float) -> dict[str, Array]:
    """Return a range in the quantizer's form: covering zero, and never empty.

    Of no dimension, because a constant that shares the scale of an activation need not have as many as that.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < np.finfo(np.float32).tiny * 2**10:
        high = low + 1.0
    return {"min": np.array(low, np.float32), "max": np.array(high, np.float32)}
