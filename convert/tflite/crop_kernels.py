"""Float `.tflite` -> the same function, with kernels cropped to the taps that ever read a pixel.

A padded convolution of an input smaller than its kernel multiplies zeros: on 3 columns, two of the seven taps of a 1x7
kernel read nothing but padding. They are cropped where the padding of the smaller kernel starts at the same pixel.
"""

from __future__ import annotations

from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import CONVOLUTION, DEPTHWISE, Operator, padding_before


def crop_kernels(float_model: bytes) -> bytes:
    """Crop the kernels of padded convolutions to the taps that read pixels.

    Args:
        float_model: of static shapes; returned itself when every tap reads a pixel.
    """
    graph = TfliteGraph(float_model)
    found = [operator for operator in graph.operators if _is_croppable(graph, operator)]
    for convolution in found:
        rows, columns = _needed(graph, convolution)
        graph.replace_constant(convolution.weights, graph.constant(convolution.weights)[:, rows, columns])
    return graph.to_bytes() if found else float_model


def _is_croppable(graph: TfliteGraph, operator: Operator) -> bool:
    if operator.name not in (CONVOLUTION, DEPTHWISE) or operator.is_unpadded:
        return False
    weights = operator.weights
    if not graph.is_constant(weights) or len(graph.consumers(weights)) > 1:
        return False
    rows, columns = _needed(graph, operator)
    return (rows.stop - rows.start, columns.stop - columns.start) != graph.shape(weights)[1:3]


def _needed(graph: TfliteGraph, operator: Operator) -> tuple[slice, slice]:
    """Return the rows and the columns that read pixels, of a kernel (out or 1, height, width, in or channels)."""
    source, kernel, result = (graph.shape(i) for i in (operator.inputs[0], operator.weights, operator.outputs[0]))
    rows, columns = (
        needed_taps(source[axis + 1], result[axis + 1], kernel[axis + 1], stride, dilation)
        for axis, (stride, dilation) in enumerate(zip(operator.strides, operator.dilations, strict=True))
    )
    return rows, columns


def needed_taps(size: int, outputs: int, taps: int, stride: int, dilation: int) -> slice:
    """Return the shortest run of a kernel's taps, along one axis padded as "SAME", that computes the same as all.

    Args:
        size, outputs: pixels of the input and of the output.
        taps: size of the kernel.
        stride, dilation: of the convolution.
    """
    before = padding_before(size, outputs, taps, stride, dilation)
    corners = [output * stride - before for output in range(outputs)]
    reading = [tap for tap in range(taps) if any(0 <= corner + tap * dilation < size for corner in corners)] or [0]
    runs = (
        slice(first, stop)
        for first in range(reading[0] + 1)
        for stop in range(reading[-1] + 1, taps + 1)
        if padding_before(size, outputs, stop - first, stride, dilation) == before - first * dilation
    )
    return min(runs, key=lambda run: run.stop - run.start)
