"""Pixels -> an engine's input tensor, its output tensor -> probabilities, as the ends of a model are described."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.affine import dequantize, quantize
from edge_runtime.card import TensorSpec
from edge_runtime.engines import AnyEngine
from edge_runtime.errors import ArtifactError
from edge_runtime.preprocess import InputSpec, Pixels, normalize
from edge_runtime.probe import probe_pixels

Probabilities = npt.NDArray[np.float32]


def encode(pixels: Pixels, spec: InputSpec, input_tensor: TensorSpec) -> npt.NDArray[Any]:
    """uint8 pixels (..., 3) as the input tensor wants them, of dtype `input_tensor.dtype`."""
    if input_tensor.encoding == "pixels":
        return pixels if input_tensor.dtype == "uint8" else (pixels.astype(np.int16) - 128).astype(np.int8)
    real = normalize(pixels, spec)
    if input_tensor.scale is None or input_tensor.zero_point is None:
        return real
    return quantize(real, input_tensor.scale, input_tensor.zero_point, input_tensor.dtype)


def to_probabilities(output: npt.NDArray[Any], end: TensorSpec) -> Probabilities:
    """float32 (classes,) of an output tensor as `end` describes it."""
    if end.scale is None or end.zero_point is None:
        return np.asarray(output, np.float32)
    return dequantize(output, end.scale, end.zero_point)


def run(engine: AnyEngine, tensor: npt.NDArray[Any]) -> Probabilities:
    """float32 (classes,): what an engine answers to one encoded picture.

    Raises:
        EngineError: it fails.
    """
    return to_probabilities(engine.run(tensor[np.newaxis])[0], engine.output)


def answer_probe(engine: AnyEngine, spec: InputSpec, input_tensor: TensorSpec) -> Probabilities:
    """float32 (classes,): what an engine answers to the probe.

    Raises:
        EngineError: it fails.
    """
    return run(engine, encode(probe_pixels(spec.height, spec.width), spec, input_tensor))


def check_io_tensors(engine: AnyEngine, spec: InputSpec, classes: int, input_tensor: TensorSpec) -> None:
    """The model's tensors must be what the card or the caller says they are."""
    if engine.input_shape != (1, spec.height, spec.width, 3):
        raise ArtifactError(
            f"the model takes {engine.input_shape}, the preprocessing makes (1, {spec.height}, {spec.width}, 3): "
            "they do not belong together"
        )
    if engine.output_shape != (1, classes):
        raise ArtifactError(
            f"the model's output is {engine.output_shape}, there are {classes} labels: pass one for each class"
        )
    if engine.input.dtype != input_tensor.dtype:
        raise ArtifactError(
            f"the model takes {engine.input.dtype}, its card says {input_tensor.dtype}: package it again"
        )
