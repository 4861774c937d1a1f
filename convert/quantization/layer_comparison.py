"""Comparison of every quantized layer with the same layer in float: at what depth the signal is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convert.quantization.quantize import QuantizedModel
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, run_over
from convert.tflite.tensor_names import layer_name
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.tensors import dequantize, encode

MOST_IMAGES = 8
"""Images that a report is computed from: a layer has thousands of values in each."""


@dataclass
class LayerError:
    """The error of one layer of a quantized network, over some images.

    Attributes:
        name, operator: of the float operator, see `layer_name`, and its kind.
        dtype: of its output in the quantized network.
        signal, noise: sums of squares of the float output, and of its difference from the quantized one.
        least, most: the smallest and the largest integer in its output.
        clipped, values: the number of float values outside the range of the integers, and of all values.
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

    def add(self, exact: Array, rounded: Array, affine: tuple[float, int] | None) -> None:
        """Add the float and the quantized output of one more image; `affine` is scale and zero point of integers."""
        exact = exact.astype(np.float64)
        if affine is not None:
            limits = np.iinfo(rounded.dtype)
            self.least, self.most = min(self.least, int(rounded.min())), max(self.most, int(rounded.max()))
            wanted = np.rint(exact / affine[0]) + affine[1]
            self.clipped += int(np.sum((wanted < limits.min) | (wanted > limits.max)))
            rounded = dequantize(rounded, *affine)
        self.signal += float(np.sum(exact**2))
        self.noise += float(np.sum((exact - rounded) ** 2))
        self.values += exact.size

    @property
    def sqnr_db(self) -> float | None:
        """Return the SQNR in dB, of all the noise up to this layer; None if there is no noise or no signal."""
        return 10 * float(np.log10(self.signal / self.noise)) if self.signal > 0 and self.noise > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Return the layer's row in a report; `range_use` and `saturation` are fractions, None in float."""
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
    """Compare every layer of a quantized network that the float network has too, in the order of execution.

    Both have the same tensor names. The first `MOST_IMAGES` of the images are used.
    """
    exact, rounded = TfliteGraph(float_model), TfliteGraph(quantized.model)
    input_tensor, _ = quantized.io_specs
    by_name = {rounded.tensor_name(i): i for i in rounded.tensors}
    layers: dict[tuple[int, int], LayerError] = {}
    for operator in exact.operators:
        name = exact.tensor_name(operator.outputs[0])
        if name in by_name:
            pair = operator.outputs[0], by_name[name]
            layers[pair] = LayerError(layer_name(name), operator.name, rounded.dtype(by_name[name]))
    float_engine, integer_engine = RecordingEngine(float_model), RecordingEngine(quantized.model)
    few = images[:MOST_IMAGES]
    in_float = run_over(float_engine, (normalize(pixels, spec) for pixels in few))
    in_integers = run_over(integer_engine, (encode(pixels, spec, input_tensor) for pixels in few))
    for _ in zip(in_float, in_integers, strict=True):
        for (i, j), layer in layers.items():
            layer.add(float_engine.tensor(i), integer_engine.tensor(j), rounded.quantization(j))
    return list(layers.values())
