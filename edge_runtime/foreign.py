"""Models without a card: what their file says of itself, what has to be asked, and an engine that answers as ours do.

A foreign model may take pixels, leave height and width open, end in logits or in one sigmoid, or answer as
(1, 1, 1, classes). `read_foreign` finds that out from the bytes of the file; `ForeignEngine` evens it out, so that
everything behind it sees one image in and one probability for each class out. What cannot be evened out is refused.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from edge_runtime import specs
from edge_runtime._archive import DAMAGED_ZIP, member
from edge_runtime._flatbuffer import Reader
from edge_runtime._graph_check import (
    GRAPH_INPUTS,
    GRAPH_OPERATORS,
    GRAPH_OUTPUTS,
    GRAPH_TENSORS,
    INT8,
    MODEL_CODES,
    MODEL_SUBGRAPHS,
    OPERATOR_CODE,
    OPERATOR_INPUTS,
    OPERATOR_OUTPUTS,
    QUANTIZATION_SCALE,
    TENSOR_QUANTIZATION,
    TENSOR_SHAPE,
    TENSOR_TYPE,
    UINT8,
    compiled_operator,
    operator_code,
)
from edge_runtime._mmap import content_of
from edge_runtime._tflite_metadata import Metadata, find_metadata
from edge_runtime.arrays import Array
from edge_runtime.conventions import CONVENTIONS, fitted, input_spec
from edge_runtime.engines import AnyEngine
from edge_runtime.errors import ArtifactError, EngineError
from edge_runtime.labels import LabelError, Labels, decode, parse_lines
from edge_runtime.preprocess import normalize
from edge_runtime.probe import probe_pixels
from edge_runtime.specs import InputSpec, TensorSpec
from edge_runtime.tensors import encode, to_probabilities

QUANTIZATION_ZERO_POINT, TENSOR_SIGNATURE = 3, 7
SOFTMAX, LOGISTIC = 25, 14
PASSED_OVER = {6, 22, 43, 70, 114}
"""DEQUANTIZE, RESHAPE, SQUEEZE, EXPAND_DIMS and QUANTIZE, which change no score."""

PROBABILITIES, INDEPENDENT, LOGITS, UNKNOWN = "probabilities", "independent", "logits", "unknown"
"""What a model answers: it ends in a softmax, in sigmoids, in neither, or that is still to be seen from its answers."""

ANY = -1
"""In the place of a side that the file leaves open."""

MOST_PIXELS_A_SIDE = 1024
"""Of a size that metadata give to a model that takes any; whoever wants more can say so."""

SUM_TOLERANCE = 0.02
MOST_CLIPPED, WORTH_A_WORD = 0.5, 0.1
"""Part of the pixel values that an integer input cannot hold: from here on it is refused, and from here on said."""

ASK = f"pass --preprocessing {'|'.join(CONVENTIONS)} or a JSON file"


@dataclass(frozen=True)
class ForeignFile:
    """What the bytes of a model without a card say.

    Attributes:
        shape: of the input, (1, height, width, channels), with `ANY` for an open side; None for several inputs.
        is_resized: whether the input of an engine has another shape at first.
        takes_pixels: whether the input is 8-bit integers without a scale.
        scale, zero_point: of an integer input.
        answers: `PROBABILITIES`, `INDEPENDENT`, `LOGITS` or `UNKNOWN`.
        scores: how many numbers it answers.
        metadata: None if there are none, or they were not asked for.
    """

    path: Path
    shape: tuple[int, ...] | None
    is_resized: bool
    takes_pixels: bool
    scale: float | None
    zero_point: int
    is_narrow: bool
    answers: str
    scores: int
    metadata: Metadata | None
    inputs: int = 1

    @property
    def head(self) -> str:
        """Return what it ends in, one of `specs.HEADS`; one sigmoid counts as two classes."""
        return specs.INDEPENDENT if self.answers == INDEPENDENT and self.scores != 1 else specs.SOFTMAX

    @property
    def is_settled(self) -> bool:
        """Return whether it is known what the model answers."""
        return self.answers != UNKNOWN

    @property
    def size(self) -> tuple[int, int] | None:
        """Return height and width of its images; None if it takes any."""
        return None if self.shape is None or ANY in self.shape[1:3] else (self.shape[1], self.shape[2])

    @property
    def describes_itself(self) -> bool:
        """Return whether nothing has to be asked about how images are prepared, except perhaps for their size."""
        metadata = self.metadata or Metadata()
        return self.takes_pixels or bool(metadata.mean and metadata.std) or (metadata.is_image and self.is_narrow)

    def spec(
        self, preprocessing: str | None = None, size: tuple[int, int] | None = None, fit: str | None = None
    ) -> InputSpec:
        """Return how images are prepared: as given, or else as the metadata say.

        Args:
            preprocessing: a convention or a JSON file.
            size: height and width, for a model that takes any.
            fit: as `conventions.fitted` takes it; metadata say nothing of it.

        Raises:
            ArtifactError: neither says it, or what is given does not fit the model.
        """
        return fitted(self._scaled(preprocessing, size), fit)

    def _scaled(self, preprocessing: str | None, size: tuple[int, int] | None) -> InputSpec:
        height, width = self._size(size)
        if preprocessing in CONVENTIONS and (height is None or width is None):
            raise ArtifactError(self._size_unknown())
        if preprocessing is not None:
            return input_spec(preprocessing, height, width, self._channels)
        if not self.describes_itself:
            raise ArtifactError(f"{self.path} has no card, and does not say how its images are prepared: {ASK}")
        if height is None or width is None:
            raise ArtifactError(self._size_unknown())
        mean, std = self._normalization()
        try:
            channels = self._channels
            return InputSpec(height, width, _each(mean, channels), _each(std, channels), channels=channels)
        except ArtifactError as error:
            raise ArtifactError(f"{self.path}: its metadata are no use, {ASK}: {error}") from error

    def labels(self) -> Labels | None:
        """Return the labels that the file carries; None if it names none.

        Raises:
            ArtifactError: it names some that are not there or cannot be read.
        """
        name = None if self.metadata is None else self.metadata.label_file
        if name is None:
            return None
        try:
            with zipfile.ZipFile(self.path) as archive:
                return parse_lines(decode(member(archive, name, self.path)))
        except KeyError as error:
            reason = "which is not in the file"
            raise ArtifactError(self._no_labels(name, reason)) from error
        except LabelError as error:
            raise ArtifactError(self._no_labels(name, f"which {error}")) from error
        except (zipfile.BadZipFile, UnicodeDecodeError, *DAMAGED_ZIP) as error:
            reason = f"which cannot be read ({error}): it is cut off or damaged"
            raise ArtifactError(self._no_labels(name, reason)) from error

    def input_shape(self, spec: InputSpec) -> tuple[int, int, int, int] | None:
        """Return the shape to give to the input before it is used, None if it has it; `ArtifactError` if none fits."""
        if not self.is_resized or self.shape is None:
            return None
        made = (1, spec.height, spec.width, spec.channels)
        if not _fits(self.shape, made):
            raise ArtifactError(
                f"{self.path} takes {_shown(self.shape)}, the preprocessing makes {made}: they do not belong together"
            )
        return made

    def settled(self, engine: AnyEngine, spec: InputSpec) -> ForeignFile:
        """Return this with `answers` known: from the graph, or else from the engine's answer to the probe."""
        if self.is_settled:
            return self
        tested = ForeignEngine(engine, replace(self, answers=PROBABILITIES), spec)
        low, high = _range(tested.output)
        if low >= 0 and high <= 1:  # as TensorFlow Lite has it behind a softmax; rounded, they need not add up to 1
            return replace(self, answers=PROBABILITIES)
        tensor = encode(probe_pixels(spec.height, spec.width, spec.channels), spec, tested.input)
        answer = to_probabilities(tested.scores(tensor[np.newaxis]), tested.output)
        is_distribution = bool(answer.min() >= -SUM_TOLERANCE and abs(float(answer.sum()) - 1) <= SUM_TOLERANCE)
        return replace(self, answers=PROBABILITIES if is_distribution else LOGITS)

    def adapted(self, engine: AnyEngine, spec: InputSpec) -> AnyEngine:
        """Return an engine that answers with a probability for each class, whatever the model answers."""
        return ForeignEngine(engine, self, spec)

    @property
    def _channels(self) -> int:
        return 3 if self.shape is None else self.shape[3]

    def _no_labels(self, name: str, reason: str) -> str:
        if compiled_operator(self.path) is not None:
            return f"{self.path}: its compiler left {name!r} out: irv2-convert attach adds it, or pass --labels FILE"
        return f"{self.path}: its metadata name {name!r}, {reason}: copy the file again, or pass --labels FILE"

    def _size(self, given: tuple[int, int] | None) -> tuple[int | None, int | None]:
        """Return height and width: the model's, those given, or those of the metadata; None if only a file may say."""
        if self.shape is None:
            raise ArtifactError(f"{self.path} has {self.inputs} inputs: an image classifier has one")
        own = self.shape[1:3]
        if given is not None and not _fits(own, given):
            raise ArtifactError(
                f"--input-size {given[0]}x{given[1]} does not fit {self.path}: it takes {_sides(own)} alone"
            )
        if self.size is not None:
            return self.size
        said = None if self.metadata is None else self.metadata.size
        if given is None and said is not None and (max(said) > MOST_PIXELS_A_SIDE or not _fits(own, said)):
            raise ArtifactError(
                f"{self.path}: its metadata ask for {said[0]}x{said[1]} images: pass --input-size if they mean it"
            )
        sides = (None if side == ANY else side for side in own)
        return given or said or (next(sides), next(sides))

    def _size_unknown(self) -> str:
        sides = _sides(() if self.shape is None else self.shape[1:3])
        size = "any size" if sides == "anyxany" else f"{sides} pixels"
        return f"{self.path} takes images of {size}: pass --input-size N or HEIGHTxWIDTH"

    def _normalization(self) -> tuple[Sequence[float], Sequence[float]]:
        if self.takes_pixels:
            return (0.0,), (1.0,)
        if self.metadata is not None and self.metadata.mean and self.metadata.std:
            return self.metadata.mean, self.metadata.std
        assert self.scale is not None
        lowest = self.zero_point if self.is_narrow else 0
        return (float(lowest),), (1 / self.scale,)


def read_foreign(path: str | os.PathLike[str], with_metadata: bool = True) -> ForeignFile:
    """Read what a `.tflite` file says of itself, without an interpreter.

    Raises:
        ArtifactError: it is damaged, or cannot be fed one image at a time.
    """
    try:
        with content_of(path) as content:
            reader = Reader(content)
            metadata = find_metadata(reader, content) if with_metadata else None
            graph = reader.tables(reader.root, MODEL_SUBGRAPHS)[0]
            return _described(Path(path), reader, graph, metadata)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    except (IndexError, ValueError, OverflowError) as error:
        raise ArtifactError(
            f"{os.fspath(path)} is damaged, what it says of itself does not hold together: {error}; copy it again, "
            "from a source you trust"
        ) from error


def _described(path: Path, reader: Reader, graph: int, metadata: Metadata | None) -> ForeignFile:
    tensors, inputs = reader.tables(graph, GRAPH_TENSORS), reader.numbers(graph, GRAPH_INPUTS, "i")
    answers, scores = _answers(reader, graph), _score_count(reader, graph)
    if len(inputs) != 1:
        return ForeignFile(path, None, False, False, None, 0, False, answers, scores, metadata, len(inputs))
    tensor = tensors[_checked(inputs[0], len(tensors))]
    shape, signature = reader.numbers(tensor, TENSOR_SHAPE, "i"), reader.numbers(tensor, TENSOR_SIGNATURE, "i")
    taken = _taken(shape, signature)
    _refuse_layout(path, taken)
    quantization = reader.table(tensor, TENSOR_QUANTIZATION)
    scales = () if quantization is None else reader.numbers(quantization, QUANTIZATION_SCALE, "f")
    zeros = () if quantization is None else reader.numbers(quantization, QUANTIZATION_ZERO_POINT, "q")
    kind = reader.number(tensor, TENSOR_TYPE, "<b")
    scale, zero = scales[0] if scales and scales[0] > 0 else None, zeros[0] if zeros else 0
    is_narrow = kind in (UINT8, INT8)
    lowest = zero + (128 if kind == INT8 else 0)
    takes_pixels = is_narrow and scale is None
    return ForeignFile(path, taken, taken != shape, takes_pixels, scale, lowest, is_narrow, answers, scores, metadata)


def _taken(shape: tuple[int, ...], signature: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an image that an input takes, with `ANY` for open sides; an open batch is one image.

    Converters write 1 for what is open, some of them without a signature.
    """
    if len(shape) != 4:
        return shape
    batch, *sides, channels = signature if len(signature) == 4 else shape
    if sides == [1, 1]:
        sides = [ANY, ANY]
    return 1 if batch < 0 else batch, *(max(side, ANY) for side in sides), channels


def _fits(own: Sequence[int], size: Sequence[int]) -> bool:
    return all(side in (ANY, other) for side, other in zip(own, size, strict=True))


def _sides(sides: Sequence[int]) -> str:
    return "x".join("any" if side == ANY else str(side) for side in sides)


def _shown(shape: Sequence[int]) -> str:
    return f"({_sides(shape).replace('x', ', ')})"


def _score_count(reader: Reader, graph: int) -> int:
    """Return how many numbers the first output has, open axes counted as one; 0 without an output."""
    tensors, outputs = reader.tables(graph, GRAPH_TENSORS), reader.numbers(graph, GRAPH_OUTPUTS, "i")
    if not outputs:
        return 0
    return prod(max(side, 1) for side in reader.numbers(tensors[_checked(outputs[0], len(tensors))], TENSOR_SHAPE, "i"))


def _checked(index: int, count: int) -> int:
    """Return an index of a tensor; Python would count a negative one from the end."""
    if not 0 <= index < count:
        raise ValueError(f"tensor {index} of {count} does not exist")
    return index


def _refuse_layout(path: Path, shape: tuple[int, ...]) -> None:
    """Raise `ArtifactError` if an input of this shape is not one RGB or grey image, channels last."""
    if len(shape) == 4 and shape[0] == 1 and shape[3] in specs.CHANNELS and not (shape[1] == 3 and shape[2] > 3):
        return
    wants = "an image classifier takes (1, height, width, 3), or 1 for grey images"
    if len(shape) != 4:
        reason = f"it has {len(shape)} axes, and {wants}: export it with an axis of three channels"
    elif shape[0] != 1:
        reason = f"it takes {shape[0]} images at once: export it with a batch of 1"
    elif shape[1] in (1, 3) and shape[3] not in (1, 3):
        reason = "it takes channels first (NCHW): export it with channels last, as onnx2tf does"
    else:
        reason = f"it takes {_sides(shape[3:])} channels, and {wants}"
    raise ArtifactError(f"{path} takes {_shown(shape)}: {reason}")


def _answers(reader: Reader, graph: int) -> str:
    """Return what the operator that makes the output says of it, behind those that change no score."""
    codes = [operator_code(reader, table) for table in reader.tables(reader.root, MODEL_CODES)]
    producer = {}
    for table in reader.tables(graph, GRAPH_OPERATORS):
        code = codes[reader.number(table, OPERATOR_CODE, "<I")]
        read = reader.numbers(table, OPERATOR_INPUTS, "i")
        for tensor in reader.numbers(table, OPERATOR_OUTPUTS, "i"):
            producer[tensor] = (code, read[0] if read else -1)
    (tensor, *_) = (*reader.numbers(graph, GRAPH_OUTPUTS, "i"), -1)
    for _ in range(len(producer)):
        code, before = producer.get(tensor, (-1, -1))
        if code not in PASSED_OVER:
            return {SOFTMAX: PROBABILITIES, LOGISTIC: INDEPENDENT}.get(code, UNKNOWN)
        tensor = before
    return UNKNOWN


class ForeignEngine:
    """An engine over a foreign model that answers as one over ours: (1, classes), a probability for each.

    `remarks` say what was done to its answers or its pixels; see `AnyEngine` for the other attributes.

    Raises:
        ArtifactError: its output is no list of scores, or its input cannot hold the pixels.
    """

    def __init__(self, engine: AnyEngine, file: ForeignFile, spec: InputSpec) -> None:
        self._engine, self._answers = engine, file.answers
        self.choice, self.placement, self.device = engine.choice, engine.placement, engine.device
        self.input_shape, self.input = engine.input_shape, engine.input
        remarks = []
        if file.takes_pixels:
            if (set(spec.mean), set(spec.std)) != ({0.0}, {1.0}):
                raise ArtifactError(
                    f"{file.path} takes {engine.input.dtype} pixels as they are: pass --preprocessing none, or leave "
                    "it out"
                )
            self.input = replace(engine.input, encoding="pixels")
        else:
            remarks += _clipped(file.path, engine.input, spec)
        self._scores = _scores(engine.output_shape)
        self._is_single = self._scores == 1 and file.answers == INDEPENDENT
        if self._scores < 2 and not self._is_single:
            raise ArtifactError(
                f"the model's output is {engine.output_shape}, not one score for each class: pass a model that "
                "classifies images"
            )
        self.output_shape: tuple[int, ...] = (1, 2 if self._is_single else self._scores)
        self.output = engine.output
        if self._answers == LOGITS or self._is_single:
            self.output = TensorSpec(engine.output.name, "float32")
        if self._answers == LOGITS:
            remarks.append("the model answers logits: a softmax makes them probabilities")
        if self._is_single:
            remarks.append("the model answers one number: the probability of the second label")
        self.remarks = tuple(remarks)

    def run(self, tensor: Array) -> Array:
        """Return the output tensor for one input tensor; see `AnyEngine`."""
        scores = self.scores(tensor)
        values = to_probabilities(scores, self._engine.output)
        if self._answers == LOGITS:
            return _softmax(values)
        low, high = float(values.min()), float(values.max())
        if low < -SUM_TOLERANCE or high > 1 + SUM_TOLERANCE:
            raise EngineError(f"the model answers {low:.4g} to {high:.4g}, which are no probabilities: it is damaged")
        return np.concatenate([1 - values, values], axis=1) if self._is_single else scores

    def scores(self, tensor: Array) -> Array:
        """Return what the model itself answers, as (1, scores)."""
        answer = self._engine.run(tensor)
        if answer.size != self._scores:
            raise EngineError(
                f"the model answers {answer.size} numbers where its output has {self._scores}: pass a model that "
                "classifies images"
            )
        return answer.reshape(1, self._scores)


def _scores(shape: tuple[int, ...]) -> int:
    """Return the number of scores in an output with one axis of them; 0 for any other."""
    return prod(shape) if shape and sum(n != 1 for n in shape) <= 1 and (len(shape) < 2 or shape[0] == 1) else 0


def _softmax(logits: Array) -> Array:
    wide = logits.astype(np.float64)
    if not np.isfinite(wide).all():
        raise EngineError("the model answers with NaN or infinity: its weights are damaged; convert it again")
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _range(tensor: TensorSpec) -> tuple[float, float]:
    """Return the least and the largest number that a tensor can hold."""
    if tensor.scale is None or tensor.zero_point is None:
        return -np.inf, np.inf
    limits = np.iinfo(np.dtype(tensor.dtype))
    return tensor.scale * (limits.min - tensor.zero_point), tensor.scale * (limits.max - tensor.zero_point)


def _clipped(path: Path, tensor: TensorSpec, spec: InputSpec) -> list[str]:
    """Say which part of the pixel values an integer input cannot hold; too many are an `ArtifactError`."""
    if tensor.scale is None or tensor.zero_point is None:
        return []
    low, high = _range(tensor)
    values = normalize(np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], spec.channels, axis=1), spec)
    slack = 0.02 * (high - low)
    outside = float(np.mean((values < low - slack) | (values > high + slack)))
    if outside < WORTH_A_WORD:
        return []
    said = (
        f"the input holds {low:.4g} to {high:.4g}, and pixels are prepared as {values.min():.4g} to {values.max():.4g}"
    )
    if outside >= MOST_CLIPPED:
        raise ArtifactError(f"{path}: {said}, most of them out of its range: {_fitting(low, high)}")
    return [f"{said}: {outside:.0%} of the values are clipped"]


def _fitting(low: float, high: float) -> str:
    """Name the conventions whose values fill a range, or say what else to do."""
    fitting = []
    for name, convention in CONVENTIONS.items():
        ends = [(pixel - m) / s for pixel in (0, 255) for m, s in zip(convention.mean, convention.std, strict=True)]
        slack = 0.1 * (high - low)
        if low - slack <= min(ends) and max(ends) <= high + slack and max(ends) - min(ends) >= (high - low) / 2:
            fitting.append(name)
    if fitting:
        return f"--preprocessing {' or '.join(fitting)} would fit"
    return "its range was calibrated on other images than these; quantize it again"


def _each(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return one number for each channel."""
    each = tuple(map(float, values)) * (channels if len(values) == 1 else 1)
    if len(each) != channels:
        raise ArtifactError(f"preprocessing: {len(each)} numbers for {channels} channels")
    return each
