"""Float `.tflite` + statistics + scheme -> quantized `.tflite`."""

from __future__ import annotations

import contextlib
import functools
import io as text_io
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_quantizer import qtyping, quantizer

from convert.errors import QuantizationError
from convert.quantization.bias_correction import correct_weight_rounding
from convert.quantization.io_tensors import align_with_pixels, feed_pixels, tensor_specs
from convert.quantization.schemes import Scheme
from convert.quantization.statistics import ActivationStatistics
from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import CLASSIFIER_KINDS, CONVOLUTIONS, DENSE
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.card import TensorSpec

Ranges = dict[str, tuple[float, float]]
HEAD_BEGINS = ("MEAN", "AVERAGE_POOL_2D", "SUM", DENSE, "SOFTMAX")


@dataclass(frozen=True)
class QuantizedModel:
    """A quantized flatbuffer, and how its input is fed ("pixels" or "normalized", see `TensorSpec`)."""

    model: bytes
    encoding: str

    @functools.cached_property
    def io_specs(self) -> tuple[TensorSpec, TensorSpec]:
        """Input and output, as a card describes them."""
        return tensor_specs(self.model, self.encoding)


def quantize(
    float_model: bytes,
    scheme: Scheme,
    io: str,
    spec: InputSpec,
    statistics: ActivationStatistics | None,
    float_layers: Collection[str] = (),
) -> QuantizedModel:
    """Quantize a float model.

    Args:
        float_model: static batch 1, ending in a softmax.
        scheme: how wide numbers become.
        io: "uint8", "int8" or "float32": dtype of the ends; the output is float32 unless `io` is int8.
        spec: preprocessing of the images.
        statistics: of the activations; needed by schemes that calibrate.
        float_layers: names of the outputs of operators that stay in float, where the scheme calibrates.

    Raises:
        QuantizationError: statistics are missing, or the ends cannot be integers for this network.
    """
    if not scheme.calibrates:
        configure = _FLOAT_RECIPES[scheme.name](TfliteGraph(float_model))
        return QuantizedModel(_apply(float_model, configure, None).to_bytes(), "normalized")
    if statistics is None:
        raise QuantizationError(f"scheme {scheme.name} needs calibration images: pass --calibration")
    graph = TfliteGraph(float_model)
    ranges, means = _ranges(graph, statistics), dict(statistics.mean)
    kept = list(float_layers)
    encoding = "normalized" if io == "float32" else "pixels"
    if io != "float32":
        ranges[graph.tensor_name(graph.inputs[0])] = feed_pixels(graph, spec, io)
    elif scheme.activation_bits == 8 and (shifted := align_with_pixels(graph, spec)) is not None:
        ranges[shifted.name], means[shifted.name] = shifted.range, means[graph.tensor_name(graph.inputs[0])]
        kept.append(shifted.name)
    quantized = _apply(graph.to_bytes(), _static_recipe(graph, scheme, io, kept), ranges)
    if scheme.activation_bits == 8:
        correct_weight_rounding(quantized, graph, means)
    return QuantizedModel(quantized.to_bytes(), encoding)


def residual_streams(graph: TfliteGraph) -> list[list[int]]:
    """Tensors that carry one residual stream: the sums of successive blocks, and what enters the first.

    The stream enters a sum as the input that others read too; the branch is read by the sum alone.
    """
    stream_of: dict[int, int] = {}
    for operator in graph.named("ADD"):
        carried = [i for i in operator.inputs if not graph.is_constant(i) and len(graph.consumers(i)) > 1]
        if len(carried) == 1:
            first = stream_of.setdefault(carried[0], carried[0])
            stream_of[operator.outputs[0]] = first
    streams = defaultdict(list)
    for tensor, first in stream_of.items():
        streams[first].append(tensor)
    return list(streams.values())


def _ranges(graph: TfliteGraph, statistics: ActivationStatistics) -> Ranges:
    """Range of every activation; all sums of one residual stream share theirs.

    With equal scales a sum whose branch is zero passes the stream on bit for bit, and rounds only once
    what the branch adds.
    """
    ranges = {
        name: (float(low.min()), float(statistics.maximum[name].max())) for name, low in statistics.minimum.items()
    }
    for stream in residual_streams(graph):
        names = [graph.tensor_name(i) for i in stream]
        shared = (min(ranges[name][0] for name in names), max(ranges[name][1] for name in names))
        ranges |= dict.fromkeys(names, shared)
    return ranges


class _Quantizer(quantizer.Quantizer):  # type: ignore[misc]
    """Without a check that opens the float network in an interpreter, which takes a second, for ranges that are empty.

    Ours never are: `_extremes` makes them.
    """

    def _ensure_model_qsv_sufficient(self, calibration_result: object) -> None: ...


def _apply(model: bytes, configure: Callable[[Any], None], ranges: Ranges | None) -> TfliteGraph:
    """Run ai-edge-quantizer, which prints as it goes, in silence.

    It keeps large constants behind the flatbuffer, where older runtimes and our zip do not expect them; the graph that
    is returned writes them inside.
    """
    worker = _Quantizer(bytearray(model))
    configure(worker)
    if not worker.get_quantization_recipe():
        return TfliteGraph(model)
    values = None if ranges is None else {name: _extremes(*io_specs) for name, io_specs in ranges.items()}
    with contextlib.redirect_stderr(text_io.StringIO()), contextlib.redirect_stdout(text_io.StringIO()):
        result = worker.quantize(values, enable_progress_bar=False, enable_progress_report=False)
    return TfliteGraph(bytes(result.quantized_model))


def _extremes(low: float, high: float) -> dict[str, Array]:
    """A range as ai-edge-quantizer wants it: covering zero, and never empty."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < np.finfo(np.float32).tiny * 2**10:
        high = low + 1.0
    return {"min": np.full((1, 1, 1, 1), low, np.float32), "max": np.full((1, 1, 1, 1), high, np.float32)}


def _static_recipe(graph: TfliteGraph, scheme: Scheme, io: str, float_layers: Collection[str]) -> Callable[[Any], None]:
    def configure(worker: Any) -> None:
        worker.add_static_config(".*", "*", scheme.activation_bits, scheme.weight_bits)
        _keep_float(worker, (*float_layers, *(() if io == "int8" else _head_outputs(graph))))
        if io == "int8":
            return
        worker.update_quantization_recipe(".*", "OUTPUT", algorithm_key=_NO_QUANTIZE)
        if io == "float32":
            worker.update_quantization_recipe(".*", "INPUT", algorithm_key=_NO_QUANTIZE)
        else:
            worker.update_quantization_recipe(".*", "INPUT", _UINT8_INPUT)

    return configure


def head_begins(graph: TfliteGraph) -> int:
    """Position of the head's first operator: the first pooling or dense one after the last convolution."""
    operators = list(graph.operators)
    last = max((i for i, operator in enumerate(operators) if operator.name in CONVOLUTIONS), default=-1)
    return next((i for i in range(last + 1, len(operators)) if operators[i].name in HEAD_BEGINS), len(operators))


def _head_outputs(graph: TfliteGraph) -> list[str]:
    return [graph.tensor_name(operator.outputs[0]) for operator in list(graph.operators)[head_begins(graph) :]]


_NO_QUANTIZE = "no_quantize"
_TENSOR = qtyping.TensorQuantizationConfig
_UINT8_INPUT = qtyping.OpQuantizationConfig(
    activation_tensor_config=_TENSOR(num_bits=8, symmetric=False, dtype=qtyping.TensorDataType.UINT),
    weight_tensor_config=_TENSOR(num_bits=8, symmetric=True, granularity=qtyping.QuantGranularity.CHANNELWISE),
    compute_precision=qtyping.ComputePrecision.INTEGER,
)
_HALF_WEIGHTS = qtyping.OpQuantizationConfig(
    weight_tensor_config=_TENSOR(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
    compute_precision=qtyping.ComputePrecision.FLOAT,
    explicit_dequantize=True,
)


def _half_weights(worker: Any) -> None:
    for operation in CLASSIFIER_KINDS:
        worker.update_quantization_recipe(".*", operation, _HALF_WEIGHTS, "float_casting")


def _dynamic(graph: TfliteGraph) -> Callable[[Any], None]:
    """The head stays in float: runtimes up to TensorFlow 2.15 read one scale of dense weights for all channels."""

    def configure(worker: Any) -> None:
        worker.add_dynamic_config(".*", "*", 8)
        _keep_float(worker, _head_outputs(graph))

    return configure


def _keep_float(worker: Any, outputs: Iterable[str]) -> None:
    for name in outputs:
        worker.update_quantization_recipe(f"^{re.escape(name)};?$", "*", algorithm_key=_NO_QUANTIZE)


_FLOAT_RECIPES: dict[str, Callable[[TfliteGraph], Callable[[Any], None]]] = {
    "none": lambda graph: lambda worker: None,
    "float16": lambda graph: _half_weights,
    "dynamic": _dynamic,
}
