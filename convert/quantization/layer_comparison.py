"""Comparison of every quantized layer with the same layer in float: where noise enters, and at what depth it is lost.

Two figures of a layer are told apart. What all layers up to it have done to its output is the accumulated noise, which
the layers after a bad one show as well. Its own noise is how far its output is from what the same layer in float makes
of the same, quantized, input: it tells which layer to keep in float.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from convert.quantization.quantize import QuantizedModel
from convert.tflite.graph import TfliteGraph, layer_name
from convert.tflite.interpreter import RecordingEngine, run_over
from convert.tflite.piecewise import Piecewise, real
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import Pixels, normalize
from edge_runtime.tensors import encode

MOST_IMAGES = 4
"""Images that a report is computed from: a layer has thousands of values in each."""


@dataclass
class Errors:
    """What is wrong with the output of one layer of a quantized network, over some images.

    Attributes:
        signal, noise: sums of squares of the float output, and of its difference from the quantized one.
        own_noise: sum of squares of what the quantized layer adds to what it was given; 0 where that is not known.
        least, most: the smallest and the largest integer in its output.
        clipped, values: the number of float values outside the range of the integers, and of all values.
    """

    signal: float = 0.0
    noise: float = 0.0
    own_noise: float = 0.0
    least: int = 2**31
    most: int = -(2**31)
    clipped: int = 0
    values: int = 0

    def add(self, other: Errors) -> None:
        """Add what was found on other images."""
        self.signal += other.signal
        self.noise += other.noise
        self.own_noise += other.own_noise
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.clipped += other.clipped
        self.values += other.values


@dataclass
class LayerError(Errors):
    """The errors of one layer.

    Attributes:
        name, operator: of the float operator, see `layer_name`, and its kind.
        dtype: of its output in the quantized network.
    """

    name: str = field(kw_only=True)
    operator: str = field(kw_only=True)
    dtype: str = field(kw_only=True)

    @property
    def sqnr_db(self) -> float | None:
        """Return the SQNR in dB, of all the noise up to this layer; None if there is no noise or no signal."""
        return self._sqnr_db(self.noise)

    @property
    def own_sqnr_db(self) -> float | None:
        """Return the SQNR in dB of the layer's own noise alone; None as above, and where it is not known."""
        return self._sqnr_db(self.own_noise)

    def _sqnr_db(self, noise: float) -> float | None:
        return 10 * float(np.log10(self.signal / noise)) if self.signal > 0 and noise > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Return the layer's row in a report; `range_use` and `saturation` are fractions, None in float."""
        is_integer = self.dtype.startswith("int")
        steps = 2 ** int(self.dtype.removeprefix("int")) - 1 if is_integer else 1
        return {
            "name": self.name,
            "operator": self.operator,
            "dtype": self.dtype,
            "sqnr_db": None if self.sqnr_db is None else round(self.sqnr_db, 2),
            "own_sqnr_db": None if self.own_sqnr_db is None else round(self.own_sqnr_db, 2),
            "range_use": round((self.most - self.least) / steps, 4) if is_integer else None,
            "saturation": self.clipped / self.values if is_integer else None,
        }


def compare_layers(
    float_model: bytes, quantized: QuantizedModel, spec: InputSpec, images: Sequence[Pixels]
) -> list[LayerError]:
    """Compare every layer of a quantized network that the float network has too, in the order of execution.

    Both have the same tensor names. The first `MOST_IMAGES` of the images are used. The image itself counts as exact:
    what its integers stand for may differ by half a step, which the bias of the first layer makes up for.
    """
    exact, rounded = TfliteGraph(float_model), quantized.graph
    few = images[:MOST_IMAGES]
    inputs = [normalize(pixels, spec) for pixels in few]
    by_name = {rounded.tensor_name(i): i for i in rounded.tensors}
    counterpart = {i: by_name[exact.tensor_name(i)] for i in exact.activations if exact.tensor_name(i) in by_name}
    recorded = _recorded(quantized, spec, few, counterpart.values())
    network = Piecewise(exact, inputs + inputs)  # the images in float, then the layers alone
    layers = list[LayerError]()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
        for operator in exact.operators:
            network.step(operator)
            for output in filter(network.knows, counterpart.keys() & set(operator.outputs)):
                integers = [values.reshape(exact.shape(output)) for values in recorded.pop(counterpart[output])]
                affine = rounded.quantization(counterpart[output])
                stood_for = list(cores.map(partial(real, quantization=affine), integers))
                in_float, alone = _halves(network.computed(output))
                if output == operator.outputs[0]:
                    name, dtype = layer_name(exact.tensor_name(output)), rounded.dtype(counterpart[output])
                    layers.append(LayerError(name=name, operator=operator.name, dtype=dtype))
                    for found in cores.map(partial(_compared, affine), in_float, alone, integers, stood_for):
                        layers[-1].add(found)
                network.replace(output, [*in_float, *stood_for])
    return layers


def _compared(affine: tuple[float, int] | None, exact: Array, alone: Array, rounded: Array, real: Array) -> Errors:
    """Return the errors of a layer in one image.

    Args:
        affine: scale and zero point, if it is computed in integers.
        exact: its output in float.
        alone: what the layer in float makes of the quantized layer's input.
        rounded, real: its output in the quantized network, and the values that this stands for.
    """
    found = Errors(_energy(exact), _energy(exact - real), _energy(alone - real), values=exact.size)
    if affine is not None:
        (scale, zero_point), limits = affine, np.iinfo(rounded.dtype)
        found.least, found.most = int(rounded.min()), int(rounded.max())
        low, high = ((end - 0.5 - zero_point) * scale for end in (int(limits.min), int(limits.max) + 1))
        found.clipped = int(np.count_nonzero(exact < low) + np.count_nonzero(exact >= high))
    return found


def _energy(values: Array) -> float:
    """Return the sum of squares."""
    return float(np.square(values).sum(dtype=np.float64))


def _recorded(
    quantized: QuantizedModel, spec: InputSpec, images: Sequence[Pixels], tensors: Collection[int]
) -> dict[int, list[Array]]:
    """Return some tensors of a quantized network for each image."""
    input_tensor, _ = quantized.io_specs
    engine = RecordingEngine(quantized.model)
    found: dict[int, list[Array]] = {i: [] for i in tensors}
    for _ in run_over(engine, (encode(pixels, spec, input_tensor) for pixels in images)):
        for i, values in found.items():
            values.append(engine.tensor(i))
    return found


def _halves(values: list[Array]) -> tuple[list[Array], list[Array]]:
    """Return the first half of a list, and the second."""
    return values[: len(values) // 2], values[len(values) // 2 :]
