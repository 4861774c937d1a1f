"""What images need, moved into the convolutions that read them: one mean and std for all channels, one grey channel.

A convolution of x[c] = (pixel[c] - mean[c]) / std[c] is one of y[c] = (pixel[c] - m) / s, if its kernel is multiplied by
s / std[c], and if sum(kernel[c] * (m - mean[c]) / std[c]) goes into its bias. Where it pads, zeros stand for the mean,
which therefore cannot move. With one mean and std, an integer input can hold the pixels themselves.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import CONVOLUTION, Operator
from edge_runtime import InputSpec

MIDDLE = 128.0
"""The mean of all channels: the pixel that is 0 as int8."""
MEAN_AND_STD = "folded: what mean and std differ by between channels, into the first convolution"
REPEATED_CHANNEL = "folded: the repeated channel, into the kernel of the first convolution"


def fold_into_first_convolutions(model: bytes, spec: InputSpec) -> tuple[bytes, InputSpec, tuple[str, ...]]:
    """Return a float `.tflite` that takes images as the returned specification says, of the same answers.

    The last value has a line about each change. The model comes back itself where nothing is to be moved, or where not
    everything that reads the image is a convolution.
    """
    graph = TfliteGraph(model)
    is_joined = _join_repeated_channel(graph)
    folded = _with_one_mean_and_std(graph, spec)
    lines = [REPEATED_CHANNEL] * is_joined + [MEAN_AND_STD] * (folded is not spec)
    return graph.to_bytes() if lines else model, folded, tuple(lines)


def _with_one_mean_and_std(graph: TfliteGraph, spec: InputSpec) -> InputSpec:
    """Move what differs between channels into the convolutions that read the image."""
    readers = graph.consumers(graph.inputs[0])
    same_mean, same_std = len(set(spec.mean)) == 1, len(set(spec.std)) == 1
    if (same_mean and same_std) or not readers or not all(_can_take(graph, reader) for reader in readers):
        return spec
    if not same_mean and not all(reader.is_unpadded for reader in readers):
        return spec
    mean = spec.mean[0] if same_mean else MIDDLE
    std = float(f"{np.mean(spec.std):.6g}")
    for reader in readers:
        assert reader.bias is not None
        kernel = np.float64(graph.constant(reader.weights))  # (out, height, width, in)
        moved = (kernel * ((mean - np.float64(spec.mean)) / spec.std)).sum(axis=(1, 2, 3))
        graph.set_constant(reader.bias, (graph.constant(reader.bias) + moved).astype(np.float32))
        graph.set_constant(reader.weights, (kernel * (std / np.float64(spec.std))).astype(np.float32))
    return replace(spec, mean=(mean,) * spec.channels, std=(std,) * spec.channels)


def _join_repeated_channel(graph: TfliteGraph) -> bool:
    """Let the first convolutions read a grey image, of which they read copies side by side."""
    image = graph.inputs[0]
    readers = graph.consumers(image)
    if len(readers) != 1 or readers[0].name != "CONCATENATION" or set(readers[0].inputs) != {image}:
        return False
    repeated, copies = readers[0], len(readers[0].inputs)
    convolutions = graph.consumers(repeated.outputs[0])
    channels = graph.shape(image)[-1]
    is_on_channels = graph.shape(repeated.outputs[0])[-1] == copies * channels
    if not (is_on_channels and convolutions and all(_can_take(graph, each) for each in convolutions)):
        return False
    for each in convolutions:
        kernel = np.float64(graph.constant(each.weights))
        summed = kernel.reshape(*kernel.shape[:3], copies, channels).sum(axis=3)
        graph.replace_constant(each.weights, summed.astype(np.float32))
    graph.bypass(repeated)
    return True


def _can_take(graph: TfliteGraph, reader: Operator) -> bool:
    """Return whether an operator is a convolution whose constants are its own."""
    return (
        reader.name == CONVOLUTION
        and all(graph.is_constant(each) and len(graph.consumers(each)) == 1 for each in (reader.weights, reader.bias))
        and graph.shape(reader.weights)[-1] == graph.shape(reader.inputs[0])[-1]  # in one group
    )
