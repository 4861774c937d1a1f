"""A float network + what was fitted to it + a recipe -> a quantized network, described by its card."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from convert.audit.runtimes import oldest_runtime
from convert.errors import QuantizationError
from convert.lowering.float_model import FloatModel
from convert.quantization.bias_correction import correct_head
from convert.quantization.calibrate import Calibration
from convert.quantization.layer_comparison import layer_name
from convert.quantization.quantize import QuantizedModel, quantize
from convert.quantization.schemes import Scheme
from convert.tflite.artifact_writer import Package, package
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import open_engine
from edge_runtime import Card
from edge_runtime.probe import Probe
from edge_runtime.tensors import answer_probe

VERSIONED = ("irv2-edge", "litert-quantizer", "ai-edge-litert", "flatbuffers", "numpy", "scipy", "pillow")
NAMES_SHOWN = 5


@dataclass(frozen=True)
class Recipe:
    """How to quantize: the scheme, dtype of the ends, and names of the tensors whose operators stay in float."""

    scheme: Scheme
    io: str
    float_layers: tuple[str, ...] = ()


def apply(network: FloatModel, recipe: Recipe, calibration: Calibration | None) -> QuantizedModel:
    """Quantize.

    Args:
        network: in float.
        recipe: how.
        calibration: needed by schemes that calibrate.
    """
    if calibration is None or not recipe.scheme.calibrates:
        return quantize(network.model, recipe.scheme, recipe.io, network.spec, None)
    model = _with_exact_weights(calibration, recipe.float_layers) if recipe.float_layers else calibration.rounded
    return quantize(model, recipe.scheme, recipe.io, network.spec, calibration.statistics, recipe.float_layers)


def correct(
    quantized: QuantizedModel, network: FloatModel, recipe: Recipe, calibration: Calibration | None
) -> QuantizedModel:
    """Correct the head on the images fitted to, where the kernels are fast enough to run them all."""
    if calibration is None or not recipe.scheme.calibrates or recipe.scheme.validation_limit is not None:
        return quantized
    input_tensor, _ = quantized.io_specs
    model = correct_head(quantized.model, network.spec, input_tensor, calibration.pixels, calibration.statistics.logits)
    return QuantizedModel(model, quantized.encoding)


def describe(
    name: str,
    quantized: QuantizedModel,
    network: FloatModel,
    recipe: Recipe,
    calibration: Calibration | None,
    build: dict[str, Any],
) -> Package:
    """Package a quantized network under a name, as yet without a drift summary; `build` as of `provenance.of`."""
    image, probabilities = quantized.io_specs
    lowered = network.lowered
    card = Card(
        name=name,
        architecture=lowered.architecture,
        classes=len(network.labels),
        scheme=recipe.scheme.name,
        preprocessing=network.spec,
        input=image,
        output=probabilities,
        sha256={},
        source={"weights_sha256": lowered.weights_sha256, "keras_sqnr_db": lowered.keras_sqnr_db, "build": build},
        calibration=_calibration(recipe, calibration),
        drift=None,
        versions={**{name: metadata.version(name) for name in VERSIONED}, **lowered.versions},
        minimum_runtime=oldest_runtime(quantized.model) or "unknown",
        probe=Probe.from_probabilities(answer_probe(open_engine(quantized.model), network.spec, image)),
    )
    return package(quantized.model, network.labels, card)


def _calibration(recipe: Recipe, calibration: Calibration | None) -> dict[str, Any] | None:
    """What a card says of the calibration, and of layers that it did not serve."""
    if calibration is None or not recipe.scheme.calibrates:
        return None
    kept = {"float_layers": list(dict.fromkeys(map(layer_name, recipe.float_layers)))} if recipe.float_layers else {}
    return {**calibration.summary(), **kept}


def matching_layers(float_model: bytes, pattern: str) -> tuple[str, ...]:
    """Names of the tensors of all operators whose layer a regular expression finds.

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


def _with_exact_weights(calibration: Calibration, layers: tuple[str, ...]) -> bytes:
    """The rounded network with the weights of some layers as they were: float needs no int8 steps."""
    graph, exact = TfliteGraph(calibration.rounded), TfliteGraph(calibration.equalized)
    for operator, source in zip(graph.operators, exact.operators, strict=True):
        if graph.tensor_name(operator.outputs[0]) in layers:
            for tensor, original in zip(operator.inputs[1:], source.inputs[1:], strict=True):
                if graph.is_constant(tensor):
                    graph.set_constant(tensor, exact.constant(original))
    return graph.to_bytes()
