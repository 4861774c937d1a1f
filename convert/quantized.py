"""A float network and its calibration -> the network in the numbers of a recipe, and what is known of its layers."""

from __future__ import annotations

from dataclasses import dataclass

from convert.audit.islands import FloatIsland, float_islands, timed
from convert.lowering.lower import FloatModel
from convert.quantization.calibrate import Calibration
from convert.quantization.layer_comparison import LayerError, compare_layers
from convert.quantization.quantize import QuantizedModel, quantize
from convert.quantization.schemes import Recipe
from convert.system.progress import Progress


@dataclass(frozen=True)
class QuantizedNetwork:
    """A quantized network.

    Attributes:
        quantized: its flatbuffer.
        layers: how far each layer is from the same in float; empty for schemes with float activations, and where the
            kernels are too slow.
        islands: what is left in float between integers, timed where the kernels are fast enough.
    """

    quantized: QuantizedModel
    layers: list[LayerError]
    islands: list[FloatIsland]


def quantize_network(
    network: FloatModel, calibration: Calibration | None, recipe: Recipe, progress: Progress
) -> QuantizedNetwork:
    """Quantize as a recipe says; correct the head and compare the layers where the kernels are fast enough.

    `calibration` is None if the scheme does not calibrate; raise what `convert.quantization.quantize.quantize` does.
    """
    spec = network.spec
    if calibration is None:
        quantized = quantize(network.model, recipe, spec, None)
    else:
        quantized = calibration.quantize(recipe, spec, progress)
    if recipe.scheme.slow_kernels:
        return QuantizedNetwork(quantized, [], float_islands(quantized.graph))
    layers = []
    if calibration is not None:
        quantized = calibration.correct_head(quantized, spec)
        layers = compare_layers(calibration.equalized, quantized, spec, calibration.pixels)
    return QuantizedNetwork(quantized, layers, timed(quantized.model, float_islands(quantized.graph)))
