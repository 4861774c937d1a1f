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
from convert.tflite.graph import TfliteGraph
from edge_runtime.arrays import Array

Ranges = dict[str, tuple[float, float]]
"""Tensor name -> smallest and largest value."""


def apply_rules(model: bytes, rules: Sequence[Rule], ranges: Ranges) -> TfliteGraph:
    """Quantize a float `.tflite` by rules, given the range of every activation.

    Weights get scale = max|w| / 127 per output channel and are rounded to nearest. Large constants come back behind the
    flatbuffer, where older runtimes and our zip do not expect them; the graph that is returned writes them inside.
    """
    if not rules:
        return TfliteGraph(model)
    manager, float_model = RecipeManager(), flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    manager.load_quantization_recipe(list(rules))
    statistics = {name: _extremes(*ends) for name, ends in ranges.items()}
    parameters = ParamsGenerator(float_model).generate_quantization_parameters(manager, statistics, False)
    quantized = ModelModifier(float_model).modify_model(parameters, enable_progress_bar=False)
    return TfliteGraph(bytes(quantized))


def _extremes(low: float, high: float) -> dict[str, Array]:
    """Return a range in the quantizer's form: covering zero, and never empty."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < np.finfo(np.float32).tiny * 2**10:
        high = low + 1.0
    return {"min": np.full((1, 1, 1, 1), low, np.float32), "max": np.full((1, 1, 1, 1), high, np.float32)}
