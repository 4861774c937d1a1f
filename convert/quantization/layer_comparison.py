"""Where along the depth of a network the signal is lost: every layer quantized beside the same layer in float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convert.quantization.quantize import QuantizedModel
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine
from convert.tflite.tensor_names import layer_name
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.tensors import dequantize, encode

MOST_IMAGES = 8
"""Images a report looks at: a layer has thousands of values in each."""


@dataclass
class LayerError:
    """One layer of a quantized network on some images.

    Attributes:
        name: see `layer_name`.
        operator: kind of the float operator.
        dtype: of its output in the quantized network.
        signal, noise: sums of squares of the float output, and of the difference to it.
        least, most: integers that its output takes.
        clipped, values: how many float values are outside of what the integers cover, of how many.
    """

    name: str
    operator: str
    dtype: str
    signal: float = 0.0
    noise: float = 0.0
    least: int = 2**31
    most: int = -(2**31)
    clipped: int = 0
    values: int = 0

    @property
    def sqnr_db(self) -> float | None:
        """Signal to noise, in decibel, of all that was lost up to here; None where nothing was, or nothing is there."""
        return 10 * float(np.log10(self.signal / self.noise)) if self.signal > 0 and self.noise > 0 else None

    def to_json(self) -> dict[str, Any]:
        """The layer's row in a report; `range_use` and `saturation` are fractions, None in float."""
        is_integer = self.dtype.startswith("int")
        steps = 2 ** int(self.dtype.removeprefix("int")) - 1 if is_integer else 1
        return {
            "name": self.name,
            "operator": self.operator,
            "dtype": self.dtype,
            "sqnr_db": None if self.sqnr_db is None else round(self.sqnr_db, 2),
            "range_use": round((self.most - self.least) / steps, 4) if is_integer else None,
            "saturation": self.clipped / self.values if is_integer else None,
        }


def compare_layers(
    float_model: bytes, quantized: QuantizedModel, spec: InputSpec, images: Sequence[Pixels]
) -> list[LayerError]:
    """Every layer of a quantized network that the float one has too, in the order of execution.

    Args:
        float_model: what the quantized one was made from, with the same names of tensors.
        quantized: the model, and how it is fed.
        spec: preprocessing.
        images: uint8 pixels; the first `MOST_IMAGES` are looked at.
    """
    exact, rounded = TfliteGraph(float_model), TfliteGraph(quantized.model)
    input_tensor, _ = quantized.io_specs
    pairs = _pairs(exact, rounded)
    layers = {i: LayerError(layer_name(exact.tensor_name(i)), kind, rounded.dtype(j)) for kind, i, j in pairs}
    float_engine, integer_engine = RecordingEngine(float_model), RecordingEngine(quantized.model)
    for pixels in images[:MOST_IMAGES]:
        float_engine.run(normalize(pixels, spec)[np.newaxis])
        integer_engine.run(encode(pixels, spec, input_tensor)[np.newaxis])
        for _, i, j in pairs:
            _add(layers[i], float_engine.tensor(i), integer_engine.tensor(j), rounded.quantization(j))
    return list(layers.values())


def _pairs(exact: TfliteGraph, rounded: TfliteGraph) -> list[tuple[str, int, int]]:
    """(kind, tensor of the float network, the same of the quantized one) of each operator's first output."""
    by_name = {rounded.tensor_name(i): i for i in range(rounded.tensor_count())}
    outputs = [(operator.name, operator.outputs[0]) for operator in exact.operators]
    return [(kind, i, by_name[exact.tensor_name(i)]) for kind, i in outputs if exact.tensor_name(i) in by_name]


def _add(layer: LayerError, exact: Array, rounded: Array, affine: tuple[float, int] | None) -> None:
    """Count one more image into a layer."""
    exact = exact.astype(np.float64)
    if affine is not None:
        limits = np.iinfo(rounded.dtype)
        layer.least, layer.most = min(layer.least, int(rounded.min())), max(layer.most, int(rounded.max()))
        wanted = np.rint(exact / affine[0]) + affine[1]
        layer.clipped += int(np.sum((wanted < limits.min) | (wanted > limits.max)))
        rounded = dequantize(rounded, *affine)
    layer.signal += float(np.sum(exact**2))
    layer.noise += float(np.sum((exact - rounded) ** 2))
    layer.values += exact.size
