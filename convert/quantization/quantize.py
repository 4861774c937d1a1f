"""Float `.tflite` + statistics + scheme -> quantized `.tflite`."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from convert.errors import QuantizationError
from convert.quantization.bias_correction import correct_weight_rounding
from convert.quantization.bias_range import RaisedScales, fit_biases
from convert.quantization.dense_layers import dense_as_convolutions, last_layer
from convert.quantization.head import head_layer, store_compactly
from convert.quantization.io_tensors import align_with_pixels, feed_pixels
from convert.quantization.prelu import split_prelus
from convert.quantization.quantizer_adapter import Ranges, apply_rules
from convert.quantization.schemes import ALL, INTEGERS_ONLY, IO_RULES, Recipe, Rule, keep_float
from convert.quantization.statistics import ActivationStatistics
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import HEAD_OF, ends_in
from convert.tflite.operators import DENSE
from convert.tflite.rewriting import GraphEditor
from edge_runtime import InputSpec
from edge_runtime.specs import TensorSpec

POOLS_OF_HEADS = ("MEAN", "AVERAGE_POOL_2D", "SUM")
BETWEEN_POOL_AND_LAYER = ("CONCATENATION", "DEQUANTIZE", "RESHAPE", "SQUEEZE")


@dataclass(frozen=True)
class QuantizedModel:
    """A quantized flatbuffer.

    Attributes:
        encoding: what its input tensor holds: "pixels" or "normalized", see `TensorSpec`.
        raised: the filters whose scale was raised for their bias.
    """

    model: bytes
    encoding: str
    raised: RaisedScales = field(default_factory=RaisedScales)

    @functools.cached_property
    def graph(self) -> TfliteGraph:
        """Return the graph, to be read: who changes a graph parses one of their own."""
        return TfliteGraph(self.model)

    @functools.cached_property
    def io_specs(self) -> tuple[TensorSpec, TensorSpec]:
        """Return input and output as a card describes them."""
        graph = self.graph
        ends = {"image": graph.inputs[0], "probabilities": graph.outputs[0]}
        image, probabilities = (
            TensorSpec(name, graph.dtype(i), *(graph.quantization(i) or ())) for name, i in ends.items()
        )
        return replace(image, encoding=self.encoding), probabilities


def quantize(
    float_model: bytes, recipe: Recipe, spec: InputSpec, statistics: ActivationStatistics | None
) -> QuantizedModel:
    """Quantize a float model of static batch 1, ending in a softmax; schemes that calibrate need statistics.

    Raises:
        QuantizationError: statistics are missing, or this network cannot have an integer input.
    """
    graph, scheme = GraphEditor(float_model), recipe.scheme
    if not scheme.calibrates:
        return QuantizedModel(_without_calibration(float_model, recipe), "normalized")
    if statistics is None:
        raise QuantizationError(f"scheme {scheme.name} needs calibration images: pass --calibration")
    image, ranges, shifted = graph.tensor_name(graph.inputs[0]), _ranges(graph, statistics), {}
    if recipe.io != "float32":
        ranges[image] = feed_pixels(graph, spec, recipe.io)
    elif scheme.activation_bits == 8:
        shifted = align_with_pixels(graph, spec)
    products = split_prelus(graph) if scheme.activation_bits == 8 else {}
    ranges |= {product: ranges[whole] for product, whole in products.items()}
    in_float = (product for product, whole in products.items() if whole in recipe.float_layers)
    rules = _rules(graph, recipe, (*recipe.float_layers, *in_float, *shifted))
    quantized = apply_rules(graph.to_bytes(), rules, ranges | shifted, scheme.activation_bits)
    raised = fit_biases(quantized, graph)
    correct_weight_rounding(quantized, graph, statistics.mean | dict.fromkeys(shifted, statistics.mean[image]))
    encoding = "normalized" if recipe.io == "float32" else "pixels"
    if not has_float_head(recipe):
        return QuantizedModel(quantized.to_bytes(), encoding, raised)
    layer = head_layer(graph)
    mean = None if layer is None else statistics.mean[graph.tensor_name(layer.inputs[0])]
    return QuantizedModel(store_compactly(quantized, mean), encoding, raised)


def _without_calibration(float_model: bytes, recipe: Recipe) -> bytes:
    """Quantize weights alone; the head, if the scheme has one in float, is that of the schemes with integers."""
    if not recipe.scheme.float_head:
        return apply_rules(float_model, recipe.scheme.rules, {}).to_bytes()
    model = dense_as_convolutions(float_model)
    return store_compactly(apply_rules(model, _rules(TfliteGraph(model), recipe, ()), {}))


def has_float_head(recipe: Recipe) -> bool:
    """Return whether pool, last dense layer and what follows compute in float."""
    return recipe.scheme.float_head and recipe.io != INTEGERS_ONLY


def _rules(graph: TfliteGraph, recipe: Recipe, float_layers: Collection[str]) -> list[Rule]:
    """Return the scheme's rules, those of the ends, and those that leave named outputs and the head in float."""
    scheme = recipe.scheme
    head = graph.operators[head_begins(graph) :] if has_float_head(recipe) else ()
    names = [*float_layers, *(graph.tensor_name(operator.outputs[0]) for operator in head)]
    ends = IO_RULES[recipe.io] if scheme.calibrates else ()
    return [*scheme.rules, *ends, *(keep_float(ALL, f"^{re.escape(name)};?$") for name in names)]


def residual_streams(graph: TfliteGraph) -> list[list[int]]:
    """Return the tensors of each residual stream: the sums of successive blocks, and what enters the first.

    The stream enters a sum as the input that others read too; the branch is read by the sum alone.
    """
    stream_of: dict[int, int] = {}
    for operator in graph.named("ADD"):
        if any(graph.is_constant(i) for i in operator.inputs):
            continue
        carried = [i for i in operator.inputs if len(graph.consumers(i)) > 1]
        if len(carried) == 1:
            first = stream_of.setdefault(carried[0], carried[0])
            stream_of[operator.outputs[0]] = first
    streams = defaultdict(list)
    for tensor, first in stream_of.items():
        streams[first].append(tensor)
    return list(streams.values())


def _ranges(graph: TfliteGraph, statistics: ActivationStatistics) -> Ranges:
    """Return the range of every activation; all sums of one residual stream share theirs.

    With equal scales a sum whose branch is zero passes the stream on bit for bit, and rounds a branch only once.
    """
    ranges = {
        name: (float(low.min()), float(statistics.maximum[name].max())) for name, low in statistics.minimum.items()
    }
    for stream in residual_streams(graph):
        names = [graph.tensor_name(i) for i in stream]
        shared = (min(ranges[name][0] for name in names), max(ranges[name][1] for name in names))
        ranges |= dict.fromkeys(names, shared)
    return ranges


def head_begins(graph: TfliteGraph) -> int:
    """Return the position of the head's first operator.

    The head is the last layer with weights, if that is dense, what follows it, and the pool that it reads. Where a
    convolution is the last, or the only layer is dense, it is the pool, softmax or sigmoids after that. Sigmoids begin
    it only as the last activation: before that they are part of a swish, say.
    """
    layer = last_layer(graph)
    first = -1 if layer is None else layer.position
    if layer is not None and layer.name == DENSE and any(o.has_weights for o in graph.operators[:first]):
        return _pool_before(graph, first)
    after = (
        operator.position
        for operator in graph.operators[first + 1 :]
        if operator.name in (*POOLS_OF_HEADS, "SOFTMAX") or (operator.name in HEAD_OF and operator == ends_in(graph))
    )
    return next(after, len(graph.operators))


def _pool_before(graph: TfliteGraph, layer: int) -> int:
    """Return the position of the first pool of those right before a layer; the layer's own if there is none."""
    first = layer
    for operator in reversed(graph.operators[:layer]):
        if operator.name in POOLS_OF_HEADS:
            first = operator.position
        elif operator.name not in BETWEEN_POOL_AND_LAYER:
            break
    return first
