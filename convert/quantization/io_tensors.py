"""Input and output tensors: how pixels come in, and how probabilities come out.

real = (pixel - mean) / std is what a network was trained on, real = scale * (q - zero_point) what its input tensor
holds. They agree on every pixel if scale = 1 / std and zero_point = mean; but zero points are integers, and a mean of
127.5 lies between two: with either, every pixel is half a step off. So the half step goes into a bias, exactly.
"""

from __future__ import annotations

import numpy as np

from convert.errors import QuantizationError
from convert.tflite.graph import TfliteGraph
from convert.tflite.operators import CONVOLUTION, Operator
from edge_runtime import InputSpec

MIDDLE_PIXEL = 128
"""The uint8 value that is 0 as int8: with it as zero point, converting one to the other flips only the sign bit."""


def check_io_dtype(float_model: bytes, io: str, spec: InputSpec) -> None:
    """Refuse an integer input that a network cannot have as `feed_pixels` does, but before minutes are spent on it."""
    if io != "float32":
        feed_pixels(TfliteGraph(float_model), spec, io)


def choose_io(float_model: bytes, io: str, asked: bool, spec: InputSpec) -> tuple[str, str]:
    """Return the dtype of the input, and why it is not `io`; "" if it is.

    Raises:
        QuantizationError: `io` was asked for by name, and the network cannot have it.
    """
    try:
        check_io_dtype(float_model, io, spec)
    except QuantizationError as error:
        if asked:
            raise
        return "float32", str(error).removesuffix(": use --io float32").replace("--io ", "", 1)
    return io, ""


def feed_pixels(graph: TfliteGraph, spec: InputSpec, io: str) -> tuple[float, float]:
    """Make the input tensor hold pixels instead of normalized values: exact, without arithmetic on the device.

    An integer is taken as zero point instead of the mean, and the constant difference goes into the bias of the
    convolutions that read the input; they must not pad.

    Returns:
        The real values of pixels 0 and 255: the range of the input tensor.

    Raises:
        QuantizationError: where padding or per-channel mean or std forbids it.
    """
    steps = _pixel_steps(spec)
    if steps is None:
        raise QuantizationError(
            f"--io {io} needs one mean and one std for all channels, the preprocessing has mean {spec.mean} and "
            f"std {spec.std}: use --io float32"
        )
    pixel_range, difference = steps
    if difference:
        readers = graph.consumers(graph.inputs[0])
        for reader in readers:
            if reader.name != CONVOLUTION or not reader.is_unpadded or not graph.is_constant(reader.bias):
                raise QuantizationError(
                    f"--io {io} cannot represent a mean of {spec.mean[0]} exactly where the first operator "
                    f"({reader.name}) pads its input or is no convolution with a bias: use --io float32"
                )
        _add_to_biases(graph, readers, difference)
    return pixel_range


def align_with_pixels(graph: TfliteGraph, spec: InputSpec) -> dict[str, tuple[float, float]]:
    """Shift a float input onto the steps of pixels before it is rounded to int8.

    An addition is put behind the input, and what it adds is subtracted from the biases of the first convolutions. If
    those pad, the border is half a step off; without the addition every pixel would be.

    Returns:
        Name and range of the shifted tensor; empty if pixels lie on the steps anyway, or no step serves all channels.
    """
    steps, readers = _pixel_steps(spec), graph.consumers(graph.inputs[0])
    movable = all(reader.name == CONVOLUTION and graph.is_constant(reader.bias) for reader in readers)
    if steps is None or not steps[1] or not movable:
        return {}
    pixel_range, difference = steps
    _add_to_biases(graph, readers, difference)
    name = f"{graph.tensor_name(graph.inputs[0])}/on_pixels"
    graph.shift_input(-difference, name)
    return {name: pixel_range}


def _pixel_steps(spec: InputSpec) -> tuple[tuple[float, float], float] | None:
    """Return the real values of pixels 0 and 255 with an integer in place of the mean, and how much smaller all become.

    None if no step serves all channels.
    """
    if len(set(spec.mean)) > 1 or len(set(spec.std)) > 1:
        return None
    mean, std = spec.mean[0], spec.std[0]
    zero_pixel = MIDDLE_PIXEL if abs(mean - MIDDLE_PIXEL) <= 0.5 else int(np.clip(round(mean), 0, 255))
    return ((0 - zero_pixel) / std, (255 - zero_pixel) / std), (zero_pixel - mean) / std


def _add_to_biases(graph: TfliteGraph, readers: list[Operator], difference: float) -> None:
    """Compensate in the biases of convolutions for the values that they read being `difference` smaller."""
    for reader in readers:
        assert reader.bias is not None
        shift = difference * graph.constant(reader.weights).sum(axis=(1, 2, 3), dtype=np.float64)
        graph.set_constant(reader.bias, (graph.constant(reader.bias) + shift).astype(np.float32))
