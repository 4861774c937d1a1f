"""litert-quantizer behind one function; the only module that imports it.

Its class `Quantizer` would open the float network in an interpreter to look for ranges that are missing: a second more
on the demo network, for each of the many models that --recover and the calibrator "auto" try. Our ranges are complete,
so the public classes are used that `Quantizer` consists of.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert.tools import flatbuffer_utils
from litert_quantizer.model_modifier import ModelModifier
from litert_quantizer.params_generator import ParamsGenerator
from litert_quantizer.recipe_manager import RecipeManager

from convert.quantization.schemes import Rule
from convert.quantization.stand_ins import stand_in
from convert.tflite.graph import TfliteGraph
from edge_runtime.arrays import Array

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
    statistics = {name: _extremes(*ends) for name, ends in ranges.items()}
    with np.errstate(invalid="ignore"):  # of biases that do not fit, see `convert.quantization.bias_range`
        parameters = ParamsGenerator(float_model).generate_quantization_parameters(manager, statistics, False)
    quantized = ModelModifier(float_model).modify_model(parameters, enable_progress_bar=False)
    graph = TfliteGraph(bytes(quantized))
    for index, (kind, version) in own_names.items():
        graph.set_operator_kind(index, kind, version)
    return graph


def _extremes(low: float, high: float) -> dict[str, Array]:
    """Return a range in the quantizer's form: covering zero, and never empty.

    Of no dimension, because a constant that shares the scale of an activation need not have as many as that.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < np.finfo(np.float32).tiny * 2**10:
        high = low + 1.0
    return {"min": np.array(low, np.float32), "max": np.array(high, np.float32)}
