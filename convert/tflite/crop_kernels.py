"""Float `.tflite` -> the same function, with kernels cropped to the taps that ever read a pixel.

A padded convolution of an input smaller than its kernel multiplies zeros: on 3 columns, two of the seven taps of a 1x7
kernel read nothing but padding. They are cropped where the padding of the smaller kernel starts at the same pixel.
"""

from __future__ import annotations

from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import CONVOLUTION, DEPTHWISE, padding_before


def crop_kernels(float_model: bytes) -> bytes:
    """Crop the kernels of padded convolutions to the taps that read pixels.

    Args:
        float_model: of static shapes; returned itself when every tap reads a pixel.
    """
    graph, changed = TfliteGraph(float_model), False
    for operator in graph.operators:
        if operator.name not in (CONVOLUTION, DEPTHWISE) or operator.is_unpadded:
            continue
        tensors = (operator.inputs[0], operator.outputs[0], operator.weights)
        if graph.is_constant(operator.weights) and len(graph.consumers(operator.weights)) == 1:
            sizes = (graph.shape(tensor)[1:3] for tensor in tensors)
            rows, columns = map(needed_taps, *sizes, operator.strides, operator.dilations)
            kernel = graph.constant(operator.weights)  # (out or 1, height, width, in or channels)
            cropped = kernel[:, rows, columns]
            if cropped.shape != kernel.shape:
                graph.replace_constant(operator.weights, cropped)
                changed = True
    return graph.to_bytes() if changed else float_model


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
