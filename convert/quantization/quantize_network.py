"""One recipe applied to a float network: quantized from what calibration gave, then bias-corrected."""

from __future__ import annotations

import re
from dataclasses import replace

from convert.errors import QuantizationError
from convert.lowering.lower import FloatModel
from convert.quantization.bias_correction import correct_head
from convert.quantization.calibrate import Calibration
from convert.quantization.quantize import QuantizedModel, quantize
from convert.quantization.schemes import Recipe
from convert.tflite.graph import TfliteGraph
from convert.tflite.tensor_names import layer_name

NAMES_SHOWN = 5


def quantize_network(network: FloatModel, recipe: Recipe, calibration: Calibration | None) -> QuantizedModel:
    """Quantize a float network; `calibration` is needed by schemes that calibrate."""
    if calibration is None or not recipe.scheme.calibrates:
        return quantize(network.model, recipe, network.spec, None)
    return quantize(calibration.network(recipe.float_layers), recipe, network.spec, calibration.statistics)


def correct_head_bias(
    quantized: QuantizedModel, network: FloatModel, recipe: Recipe, calibration: Calibration | None
) -> QuantizedModel:
    """Correct the bias of the head on the calibration images, where the kernels are fast enough to run them all."""
    if calibration is None or not recipe.scheme.calibrates or recipe.scheme.slow_kernels:
        return quantized
    input_tensor, _ = quantized.io_specs
    model = correct_head(quantized.model, network.spec, input_tensor, calibration.pixels, calibration.statistics.logits)
    return replace(quantized, model=model)


def matching_layers(float_model: bytes, pattern: str) -> tuple[str, ...]:
    """Return the names of the tensors of all operators in whose layer's name a regular expression is found.

    Raises:
        QuantizationError: there is none.
    """
    graph = TfliteGraph(float_model)
    names = [graph.tensor_name(operator.outputs[0]) for operator in graph.operators]
    found = tuple(name for name in names if re.search(pattern, layer_name(name)))
    if not found:
        some = ", ".join(dict.fromkeys(layer_name(name) for name in names[:NAMES_SHOWN]))
        raise QuantizationError(
            f"--keep-float {pattern!r} matches no layer: the {len(names)} of this network are called {some}, ..."
        )
    return found
