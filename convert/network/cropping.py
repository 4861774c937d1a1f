"""Float `.tflite` -> the same function, whose kernels have no taps that only ever meet padding.

A padded convolution on a picture smaller than its kernel multiplies zeros: on 3 columns, two of the seven taps of a
1x7 kernel never see a pixel. They are left out where the padding of what remains falls on the same pixels.
"""

from __future__ import annotations

from convert.tflite_graph import Operator, TfliteGraph, is_unpadded, padding_before

PADDED = ("CONV_2D", "DEPTHWISE_CONV_2D")


def crop_kernels(float_model: bytes) -> bytes:
    """Leave out the taps of padded convolutions that meet nothing but padding.

    Args:
        float_model: a float `.tflite` of static shapes.

    Returns:
        A model that computes the same from smaller kernels; `float_model` itself where every tap meets a pixel.
    """
    graph = TfliteGraph(float_model)
    convolutions = [operator for kind in PADDED for operator in graph.named(kind) if _is_croppable(graph, operator)]
    cropped = [_crop(graph, operator) for operator in convolutions]
    return graph.to_bytes() if any(cropped) else float_model


def _is_croppable(graph: TfliteGraph, operator: Operator) -> bool:
    weights = operator.inputs[1]
    own = graph.is_constant(weights) and len(graph.consumers(weights)) == 1
    return own and not is_unpadded(operator) and graph.dtype(weights) == "float32"


def _crop(graph: TfliteGraph, operator: Operator) -> bool:
    """Crop a kernel (out, height, width, in), or (1, height, width, channels); whether there was anything to crop."""
    options, kernel = operator.options, graph.constant(operator.inputs[1])
    rows, columns = (
        needed_taps(graph.shape(operator.inputs[0])[axis], graph.shape(operator.outputs[0])[axis], taps, *steps)
        for axis, taps, steps in (
            (1, kernel.shape[1], (int(options.strideH), int(options.dilationHFactor))),
            (2, kernel.shape[2], (int(options.strideW), int(options.dilationWFactor))),
        )
    )
    cropped = kernel[:, rows, columns]
    graph.replace_constant(operator.inputs[1], cropped)
    return bool(cropped.size < kernel.size)


def needed_taps(size: int, outputs: int, taps: int, stride: int, dilation: int) -> slice:
    """The shortest run of a kernel's taps, along one axis, that computes what all of them do.

    Args:
        size: pixels of the input.
        outputs: pixels of the output.
        taps: of the kernel.
        stride, dilation: of the convolution, which is padded as TensorFlow's "SAME".
    """
    before = padding_before(size, outputs, taps, stride, dilation)
    firsts = [output * stride - before for output in range(outputs)]
    meeting = [tap for tap in range(taps) if any(0 <= first + tap * dilation < size for first in firsts)]
    runs = [
        slice(first, stop)
        for first in range(meeting[0] + 1)
        for stop in range(meeting[-1] + 1, taps + 1)
        if padding_before(size, outputs, stop - first, stride, dilation) == before - first * dilation
    ]
    return min(runs, key=lambda run: run.stop - run.start)
