"""`Classifier`: an artifact, interpreters and the preprocessing of its card, as one thing."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt

from edge_runtime import fastest
from edge_runtime.affine import dequantize, quantize
from edge_runtime.ahead import ahead
from edge_runtime.artifact import Artifact, check_file_sha256, check_tflite, has_card, open_artifact
from edge_runtime.card import Card, TensorEnd
from edge_runtime.delegates import CPU, DelegateRequest, Task, open_engines
from edge_runtime.engines import AUTO, AnyEngine, choose_engine
from edge_runtime.errors import ArtifactError, EngineError
from edge_runtime.preprocess import ImageSource, InputSpec, Pixels, load_pixels, normalize
from edge_runtime.probe import probe_pixels
from edge_runtime.receipt import Receipt

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """One class of one picture: its index, its label and its probability in 0..1."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Frame:
    """One answered frame of a stream: its number, counted from 0, the frame itself, and its best classes."""

    index: int
    image: ImageSource
    predictions: list[Prediction]


class Classifier:
    """Classifies images with one model; safe to share between threads, which take turns at its workers.

    Attributes:
        labels: one for each class.
        spec: how images are prepared.
        receipt: what really runs.
        artifact: the opened artifact; None for a foreign model.
        step: between two neighbouring probabilities of a model with an integer output; 0.0 for floats.
        feed: how the model's input wants its pixels, for `encode`.
    """

    def __init__(
        self,
        engines: Sequence[AnyEngine],
        spec: InputSpec,
        labels: Sequence[str],
        *,
        feed: TensorEnd,
        receipt: Receipt,
        artifact: Artifact | None = None,
    ) -> None:
        for engine in engines:
            _check_ends(engine, spec, len(labels), feed)
        self.labels, self.spec, self.receipt, self.artifact = tuple(labels), spec, receipt, artifact
        self.step = engines[0].output.scale or 0.0
        self._engines, self.feed = _Engines(engines), feed

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        engine: str = AUTO,
        delegate: str | os.PathLike[str] = AUTO,
        strict: bool = False,
        threads: int | None = None,
        workers: int = 1,
        sha256: str | None = None,
        spec: InputSpec | None = None,
        labels: Sequence[str] | None = None,
    ) -> Self:
        """Open a `.tflite` file.

        Args:
            path: an artifact; or a foreign model, when `spec` and `labels` say what its file does not.
            engine: "auto", "litert" or "tflite-runtime".
            delegate: "cpu", "gpu", "nnapi", "edgetpu", "qnn" or the path of a plugin library, all with options as in
                "NAME:key=value,..."; "auto" is the one `irv2-benchmark --save` found the fastest, else "cpu".
            strict: whether a delegate that cannot be used is an error; otherwise the CPU takes over, with a
                RuntimeWarning and the reason in the receipt.
            threads: of each interpreter; None shares out the cores.
            workers: interpreters over the one mapped file: so many images are computed at once.
            sha256: expected hash of the whole file.
            spec, labels: of a foreign model; an artifact brings its own. Its checksums are verified all the same.

        Raises:
            ArtifactError: the file is missing, damaged, foreign without `spec`, or not the pinned one.
            EngineError: no interpreter is installed, or it refuses the model.
            DelegateError: no such delegate, or it cannot be used and `strict` is set.
        """
        if workers < 1:
            raise EngineError(f"{workers} workers: pass at least 1")
        path = Path(path)
        artifact = open_artifact(path, sha256) if spec is None else None
        if artifact is None:
            _check_foreign(path, sha256)
        card = None if artifact is None else artifact.card
        request = _chosen_delegate(delegate, path, artifact)
        if request.kind is not None and request.kind.warning is not None:
            warnings.warn(request.kind.warning, RuntimeWarning, stacklevel=2)
        threads = threads if threads is not None else max(1, (os.cpu_count() or 1) // workers)
        probe = None if card is None else card.probe
        task = Task(path, choose_engine(engine), threads, workers, _prober(card, spec), probe)
        engines, receipt = open_engines(task, request, strict, AUTO if delegate == AUTO else None)
        if receipt.fallback is not None:
            warnings.warn(f"{receipt.fallback}; the CPU is used instead", RuntimeWarning, stacklevel=2)
        if artifact is not None:
            of_card = artifact.card
            return cls(
                engines, of_card.preprocessing, artifact.labels, feed=of_card.input, receipt=receipt, artifact=artifact
            )
        assert spec is not None
        names = labels if labels is not None else [str(i) for i in range(engines[0].output_shape[-1])]
        return cls(engines, spec, names, feed=engines[0].input, receipt=receipt)

    @overload
    def predict(
        self,
        images: ImageSource,
        top_k: int = 5,
        threshold: float = 0.0,
        allow: Collection[str] | None = None,
        deny: Collection[str] | None = None,
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self,
        images: list[Any] | tuple[Any, ...],
        top_k: int = 5,
        threshold: float = 0.0,
        allow: Collection[str] | None = None,
        deny: Collection[str] | None = None,
    ) -> list[list[Prediction]]: ...

    def predict(
        self,
        images: ImageSource | Sequence[ImageSource],
        top_k: int = 5,
        threshold: float = 0.0,
        allow: Collection[str] | None = None,
        deny: Collection[str] | None = None,
    ) -> list[Prediction] | list[list[Prediction]]:
        """The most probable classes, best first.

        Args:
            images: one picture (see `load_pixels` for what that can be) or a list of them.
            top_k, threshold, allow, deny: see `best`.

        Returns:
            `list[Prediction]` for one picture, a list of such lists for a list.

        Raises:
            ImageError: a picture cannot be read.
            ValueError: as of `best`.
        """
        choice = _Choice(self.labels, top_k, threshold, allow, deny)
        rows = [choice.best(row) for row in self.probabilities(images)]
        return rows if isinstance(images, (list, tuple)) else rows[0]

    def best(
        self,
        probabilities: Probabilities,
        top_k: int = 5,
        threshold: float = 0.0,
        allow: Collection[str] | None = None,
        deny: Collection[str] | None = None,
    ) -> list[Prediction]:
        """The most probable classes of one row (classes,), best first; the lower index first on a tie.

        Args:
            probabilities: of all classes, in 0..1.
            top_k: how many classes, at most.
            threshold: the least probability of a class, in 0..1.
            allow: labels of the only classes to name; None names all.
            deny: labels of classes not to name.

        Raises:
            EngineError: not every number of the row is finite.
            ValueError: `top_k` is less than 1, `threshold` out of its range, or a label is none of the model's.
        """
        return _Choice(self.labels, top_k, threshold, allow, deny).best(probabilities)

    def probabilities(self, images: ImageSource | Sequence[ImageSource]) -> Probabilities:
        """float32 (N, classes), in 0..1, for N pictures; N is 1 for a single one. The workers share a list."""
        sources: Sequence[Any] = images if isinstance(images, (list, tuple)) else [images]
        workers = min(self.receipt.workers, len(sources))
        if workers > 1:
            with ThreadPoolExecutor(workers) as pool:
                rows = list(pool.map(self._answer, sources))
        else:
            rows = [self._answer(source) for source in sources]
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), np.float32)

    def stream(
        self,
        frames: Iterable[ImageSource],
        *,
        drop: bool = False,
        top_k: int = 5,
        threshold: float = 0.0,
        allow: Collection[str] | None = None,
        deny: Collection[str] | None = None,
    ) -> Iterator[Frame]:
        """Answer the frames of a camera or a video in their order, the next being prepared during inference.

        Args:
            frames: read in a thread of its own; see `load_pixels` for what a frame can be.
            drop: whether frames that come while earlier ones are worked on give way to the newest, so that answers
                never fall behind a camera; `Frame.index` shows the gaps. Else the iterator has to wait.
            top_k, threshold, allow, deny: see `best`.

        Raises:
            ImageError: a frame cannot be read; what `frames` itself raises is raised as well.
            ValueError: as of `best`.
        """
        choice = _Choice(self.labels, top_k, threshold, allow, deny)
        numbered = enumerate(frames)
        newest = ahead(numbered, drop=True) if drop else numbered
        prepared = ahead((index, frame, load_pixels(frame, self.spec)) for index, frame in newest)
        return (Frame(index, frame, choice.best(self.run(pixels))) for index, frame, pixels in prepared)

    def _answer(self, source: ImageSource) -> Probabilities:
        return self.run(load_pixels(source, self.spec))

    def run(self, pixels: Pixels) -> Probabilities:
        """float32 (classes,) for uint8 pixels as `load_pixels` returns them.

        Raises:
            EngineError: the interpreter fails, or the classifier is closed.
        """
        tensor = encode(pixels, self.spec, self.feed)
        with self._engines.idle() as engine:
            return _run(engine, tensor)

    def close(self) -> None:
        """Give the interpreters' memory back, when they have finished; closing twice does no harm."""
        self._engines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Engines:
    """The engines that are idle; whoever needs one waits for it."""

    def __init__(self, engines: Sequence[AnyEngine]) -> None:
        self._count, self._closing = len(engines), threading.Lock()
        self._idle: queue.SimpleQueue[AnyEngine | None] = queue.SimpleQueue()
        for engine in engines:
            self._idle.put(engine)

    @contextmanager
    def idle(self) -> Iterator[AnyEngine]:
        """Lend an engine."""
        engine = self._idle.get()
        try:
            if engine is None:
                raise EngineError("this classifier is closed: open it again with Classifier.open")
            yield engine
        finally:
            self._idle.put(engine)

    def close(self) -> None:
        """Wait for every engine, and put None in its place."""
        with self._closing:
            for _ in range(self._count):
                self._idle.get()
            for _ in range(self._count):
                self._idle.put(None)


class _Choice:
    """Which classes of a row to name."""

    def __init__(
        self,
        labels: Sequence[str],
        top_k: int,
        threshold: float,
        allow: Collection[str] | None,
        deny: Collection[str] | None,
    ) -> None:
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}: ask for at least 1 class")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}: pass a probability in 0..1")
        for name, named in (("allow", allow), ("deny", deny)):
            if isinstance(named, str) or (unknown := sorted(set(named or ()) - set(labels))):
                wrong = named if isinstance(named, str) else unknown[0]
                raise ValueError(f"{name} has {wrong!r}: pass a list of the model's own labels")
        self._labels, self._top_k, self._threshold = labels, top_k, threshold
        named_at_all = set(labels if allow is None else allow) - set(deny or ())
        self._mask = np.array([label in named_at_all for label in labels])

    def best(self, probabilities: Probabilities) -> list[Prediction]:
        """The most probable of them, best first."""
        if not np.isfinite(probabilities).all():
            raise EngineError("the model answers with NaN or infinity: its weights are damaged; convert it again")
        ranking = np.argsort(-probabilities, kind="stable")
        named = ranking[self._mask[ranking] & (probabilities[ranking] >= self._threshold)][: self._top_k]
        return [Prediction(int(i), self._labels[i], float(probabilities[i])) for i in named]


def _check_foreign(path: Path, sha256: str | None) -> None:
    """Refuse a damaged file, or another than the pinned one; a card's checksums hold, whether it is used or not."""
    check_tflite(path)
    if sha256 is not None:
        check_file_sha256(path, sha256)
    if has_card(path):
        open_artifact(path)


def _prober(card: Card | None, spec: InputSpec | None) -> Callable[[AnyEngine], Probabilities]:
    """Asks an engine about the probe, as the card says, or `spec` where there is none."""
    wanted = spec if card is None else card.preprocessing
    assert wanted is not None

    def answer_to_probe(engine: AnyEngine) -> Probabilities:
        feed = engine.input if card is None else card.input
        _check_ends(engine, wanted, engine.output_shape[-1] if card is None else card.classes, feed)
        return answer_probe(engine, wanted, feed)

    return answer_to_probe


def encode(pixels: Pixels, spec: InputSpec, feed: TensorEnd) -> npt.NDArray[Any]:
    """uint8 pixels (..., 3) as the input tensor wants them, of dtype `feed.dtype`."""
    if feed.encoding == "pixels":
        return pixels if feed.dtype == "uint8" else (pixels.astype(np.int16) - 128).astype(np.int8)
    real = normalize(pixels, spec)
    if feed.scale is None or feed.zero_point is None:
        return real
    return quantize(real, feed.scale, feed.zero_point, feed.dtype)


def answer_probe(engine: AnyEngine, spec: InputSpec, feed: TensorEnd) -> Probabilities:
    """float32 (classes,): what an engine answers to the probe, fed as `spec` and `feed` say.

    Raises:
        EngineError: it fails.
    """
    return _run(engine, encode(probe_pixels(spec.height, spec.width), spec, feed))


def _run(engine: AnyEngine, image: npt.NDArray[Any]) -> Probabilities:
    return to_probabilities(engine.run(image[np.newaxis])[0], engine.output)


def to_probabilities(output: npt.NDArray[Any], end: TensorEnd) -> Probabilities:
    """float32 (classes,) of an output tensor as `end` describes it."""
    if end.scale is None or end.zero_point is None:
        return np.asarray(output, np.float32)
    return dequantize(output, end.scale, end.zero_point)


def _chosen_delegate(delegate: str | os.PathLike[str], path: Path, artifact: Artifact | None) -> DelegateRequest:
    if delegate != AUTO:
        return DelegateRequest.parse(os.fspath(delegate))
    return fastest.recall(model_sha256(path, artifact)) or DelegateRequest.parse(CPU)


def model_sha256(path: str | os.PathLike[str], artifact: Artifact | None) -> str:
    """SHA-256 of a model's flatbuffer, which the card of an artifact has and `open_artifact` has verified."""
    if artifact is not None:
        return artifact.card.sha256["flatbuffer"]
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_ends(engine: AnyEngine, spec: InputSpec, classes: int, feed: TensorEnd) -> None:
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
    if engine.input.dtype != feed.dtype:
        raise ArtifactError(f"the model takes {engine.input.dtype}, its card says {feed.dtype}: package it again")
