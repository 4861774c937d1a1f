"""The card of an artifact: what it is, how it was made, and what the CPU answers to the probe."""

from __future__ import annotations

from typing import Any

from convert.audit.islands import float_islands, island_lines
from convert.audit.runtimes import oldest_runtime
from convert.lowering.lower import FloatModel
from convert.quantization.calibrate import Calibration
from convert.quantization.quantize import QuantizedModel
from convert.quantization.schemes import Recipe
from convert.system.machine import IN_CARDS, versions
from convert.tflite.graph import layer_name
from convert.tflite.interpreter import open_engine
from edge_runtime import Card
from edge_runtime.probe import Probe
from edge_runtime.specs import BINARY


def card_of(
    name: str,
    quantized: QuantizedModel,
    network: FloatModel,
    recipe: Recipe,
    calibration: Calibration | None,
    build: dict[str, Any],
) -> Card:
    """Return the card of a quantized network, as yet without checksums and without a drift summary.

    `network` is the network in float, and `build` is `Job.recorded`.
    """
    image, probabilities = quantized.io_specs
    lowered = network.lowered
    return Card(
        name=name,
        architecture=lowered.architecture,
        classes=len(network.labels),
        scheme=recipe.scheme.name,
        preprocessing=network.spec,
        input=image,
        output=probabilities,
        sha256={},
        source={
            "weights_sha256": lowered.weights_sha256,
            "keras_sqnr_db": lowered.keras_sqnr_db,
            "build": build,
            **({"head": BINARY} if lowered.head == BINARY else {}),
            **lowered.findings(),
            **_given(network),
        },
        calibration=_calibration(recipe, calibration, quantized),
        drift=None,
        versions={**{name: text or "unknown" for name, text in versions(IN_CARDS).items()}, **lowered.versions},
        minimum_runtime=oldest_runtime(quantized.model) or "unknown",
        head=network.head,
        probe=Probe.of(open_engine(quantized.model), network.spec, image),
    )


def _given(network: FloatModel) -> dict[str, Any]:
    """Return what the user said of the images, where the network's own front or kernels changed it."""
    given = network.given
    return {} if given is None or given == network.spec else {"preprocessing": given.to_json()}


def _calibration(recipe: Recipe, calibration: Calibration | None, quantized: QuantizedModel) -> dict[str, Any] | None:
    """Return a summary of the calibration: the layers kept in float, what else is left in float, scales raised."""
    if calibration is None or not recipe.scheme.calibrates:
        return None
    kept = {"float_layers": list(dict.fromkeys(map(layer_name, recipe.float_layers)))} if recipe.float_layers else {}
    islands, raised = island_lines(float_islands(quantized.graph)), quantized.raised
    left = {"left_in_float": islands} if islands else {}
    scales = {"raised_scales": {"filters": raised.filters, "of": raised.of}} if raised.filters else {}
    return {**calibration.summary(), **kept, **left, **scales}
