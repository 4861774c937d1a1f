"""`Classifier`: an artifact, an interpreter and the preprocessing of its card, as one thing."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edge_runtime.affine import dequantize, quantize
from edge_runtime.artifact import Artifact, check_file_sha256, check_tflite, open_artifact
from edge_runtime.card import TensorEnd
from edge_runtime.engines import AUTO, Engine, choose_engine
from edge_runtime.errors import ArtifactError, EngineError
from edge_runtime.preprocess import ImageSource, InputSpec, Pixels, load_pixels, normalize


@dataclass(frozen=True)
class Prediction:
    """One class of one picture: its index, its label and its probability in 0..1."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Receipt:
    """What really runs: engine, its version, the device and the number of threads."""

    engine: str
    version: str
    device: str
    threads: int


class Classifier:
    """Classifies images with one model; safe to share between threads, which then take turns.

    Attributes:
        labels: one for each class.
        spec: how images are prepared.
        receipt: what really runs.
        artifact: the opened artifact; None for a foreign model.
    """

    def __init__(
        self,
        engine: Engine,
        spec: InputSpec,
        labels: Sequence[str],
        *,
        feed: TensorEnd,
        receipt: Receipt,
        artifact: Artifact | None = None,
    ) -> None:
        _check_ends(engine, spec, labels, feed)
        self.labels, self.spec, self.receipt, self.artifact = tuple(labels), spec, receipt, artifact
        self._engine: Engine | None = engine
        self._output, self._feed, self._turn = engine.output, feed, threading.Lock()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        engine: str = AUTO,
        threads: int | None = None,
        sha256: str | None = None,
        spec: InputSpec | None = None,
        labels: Sequence[str] | None = None,
    ) -> Self:
        """Open a `.tflite` file.

        Args:
            path: an artifact; or a foreign model, when `spec` and `labels` say what its file does not.
            engine: "auto", "litert" or "tflite-runtime".
            threads: of the interpreter; None takes one a core.
            sha256: expected hash of the whole file.
            spec, labels: of a foreign model; an artifact brings its own.

        Raises:
            ArtifactError: the file is missing, damaged, foreign without `spec`, or not the pinned one.
            EngineError: no interpreter is installed, or it refuses the model.
        """
        if spec is not None:
            check_tflite(Path(path))
            if sha256 is not None:
                check_file_sha256(Path(path), sha256)
            return cls._open_foreign(Path(path), spec, labels, engine, threads)
        artifact = open_artifact(path, sha256)
        built = Engine(path, choose_engine(engine), threads)
        card = artifact.card
        receipt = _receipt(built, threads)
        return cls(built, card.preprocessing, artifact.labels, feed=card.input, receipt=receipt, artifact=artifact)

    @classmethod
    def _open_foreign(
        cls, path: Path, spec: InputSpec, labels: Sequence[str] | None, engine: str, threads: int | None
    ) -> Self:
        built = Engine(path, choose_engine(engine), threads)
        names = labels if labels is not None else [str(i) for i in range(built.output_shape[-1])]
        return cls(built, spec, names, feed=built.input, receipt=_receipt(built, threads))

    def predict(self, images: ImageSource | Sequence[ImageSource], top_k: int = 5) -> Any:
        """The most probable classes, best first.

        Args:
            images: one picture (see `load_pixels` for what that can be) or a list of them.
            top_k: how many classes, at most.

        Returns:
            `list[Prediction]` for one picture, a list of such lists for a list.

        Raises:
            ImageError: a picture cannot be read.
            ValueError: `top_k` is less than 1.
        """
        if isinstance(images, (list, tuple)):
            return [self.predict(image, top_k) for image in images]
        return self.best(self.probabilities(images)[0], top_k)

    def best(self, probabilities: npt.NDArray[np.float32], top_k: int = 5) -> list[Prediction]:
        """The `top_k` most probable classes of one row (classes,), best first; the lower index first on a tie.

        Raises:
            EngineError: not every number of the row is finite.
            ValueError: `top_k` is less than 1.
        """
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}: ask for at least 1 class")
        if not np.isfinite(probabilities).all():
            raise EngineError("the model answers with NaN or infinity: its weights are damaged; convert it again")
        ranking = np.argsort(-probabilities, kind="stable")[:top_k]
        return [Prediction(int(i), self.labels[i], float(probabilities[i])) for i in ranking]

    def probabilities(self, images: ImageSource | Sequence[ImageSource]) -> npt.NDArray[np.float32]:
        """float32 (N, classes) for N pictures; N is 1 for a single one."""
        sources: Sequence[Any] = images if isinstance(images, (list, tuple)) else [images]
        rows = [self.run(load_pixels(source, self.spec)) for source in sources]
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), np.float32)

    def run(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """float32 (classes,) for uint8 pixels as `load_pixels` returns them.

        Raises:
            EngineError: the interpreter fails, or the classifier is closed.
        """
        tensor = encode(pixels, self.spec, self._feed)[np.newaxis]
        with self._turn:
            if self._engine is None:
                raise EngineError("this classifier is closed: open it again with Classifier.open")
            output = self._engine.run(tensor)[0]
        scale, zero_point = self._output.scale, self._output.zero_point
        if scale is None or zero_point is None:
            return np.asarray(output, np.float32)
        return dequantize(output, scale, zero_point)

    def close(self) -> None:
        """Give the interpreter's memory back; closing twice does no harm."""
        with self._turn:
            self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def encode(pixels: Pixels, spec: InputSpec, feed: TensorEnd) -> npt.NDArray[Any]:
    """uint8 pixels (..., 3) as the input tensor wants them, of dtype `feed.dtype`."""
    if feed.encoding == "pixels":
        return pixels if feed.dtype == "uint8" else (pixels.astype(np.int16) - 128).astype(np.int8)
    real = normalize(pixels, spec)
    if feed.scale is None or feed.zero_point is None:
        return real
    return quantize(real, feed.scale, feed.zero_point, feed.dtype)


def _receipt(engine: Engine, threads: int | None) -> Receipt:
    return Receipt(engine.choice.name, engine.choice.version, "cpu", threads or os.cpu_count() or 1)


def _check_ends(engine: Engine, spec: InputSpec, labels: Sequence[str], feed: TensorEnd) -> None:
    """The model's tensors must be what the card or the caller says they are."""
    if engine.input_shape != (1, spec.height, spec.width, 3):
        raise ArtifactError(
            f"the model takes {engine.input_shape}, the preprocessing makes (1, {spec.height}, {spec.width}, 3): "
            "they do not belong together"
        )
    if engine.output_shape != (1, len(labels)):
        raise ArtifactError(
            f"the model's output is {engine.output_shape}, there are {len(labels)} labels: pass one for each class"
        )
    if engine.input.dtype != feed.dtype:
        raise ArtifactError(f"the model takes {engine.input.dtype}, its card says {feed.dtype}: package it again")
