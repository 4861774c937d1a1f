"""`Classifier`: an artifact, interpreters and the preprocessing of its card, as one thing."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, overload

import numpy as np

from edge_runtime import _autotune
from edge_runtime._engine_pool import EnginePool
from edge_runtime._prefetch import ahead
from edge_runtime.artifact import Artifact
from edge_runtime.card import TensorSpec
from edge_runtime.delegates import CPU, DelegateRequest, Task, open_engines
from edge_runtime.engines import AUTO, AnyEngine, choose_engine
from edge_runtime.errors import EngineError
from edge_runtime.model import Model
from edge_runtime.preprocess import ImageSource, InputSpec, Pixels, load_pixels
from edge_runtime.receipt import Receipt
from edge_runtime.tensors import Probabilities, check_io_tensors, encode, run
from edge_runtime.top_k import Prediction, TopK


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
        input_tensor: how the model's input wants its pixels, for `encode`.
    """

    def __init__(
        self,
        engines: Sequence[AnyEngine],
        spec: InputSpec,
        labels: Sequence[str],
        *,
        input_tensor: TensorSpec,
        receipt: Receipt,
        artifact: Artifact | None = None,
    ) -> None:
        for engine in engines:
            check_io_tensors(engine, spec, len(labels), input_tensor)
        self.labels, self.spec, self.receipt, self.artifact = tuple(labels), spec, receipt, artifact
        self.step = engines[0].output.scale or 0.0
        self._engines, self.input_tensor = EnginePool(engines), input_tensor

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
        model = Model.of(Path(path), sha256, spec, labels)
        request = _chosen_delegate(delegate, model)
        if request.kind is not None and request.kind.warning is not None:
            warnings.warn(request.kind.warning, RuntimeWarning, stacklevel=2)
        threads = threads if threads is not None else max(1, (os.cpu_count() or 1) // workers)
        probe = None if model.artifact is None else model.artifact.card.probe
        task = Task(model.path, choose_engine(engine), threads, workers, model.answer_probe, probe)
        engines, receipt = open_engines(task, request, strict, AUTO if delegate == AUTO else None)
        if receipt.fallback is not None:
            warnings.warn(f"{receipt.fallback}; the CPU is used instead", RuntimeWarning, stacklevel=2)
        names, input_tensor = model.names(engines[0]), model.input_tensor(engines[0])
        return cls(engines, model.spec, names, input_tensor=input_tensor, receipt=receipt, artifact=model.artifact)

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
        choice = TopK(self.labels, top_k, threshold, allow, deny)
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
        return TopK(self.labels, top_k, threshold, allow, deny).best(probabilities)

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
        choice = TopK(self.labels, top_k, threshold, allow, deny)
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
        tensor = encode(pixels, self.spec, self.input_tensor)
        with self._engines.idle() as engine:
            return run(engine, tensor)

    def close(self) -> None:
        """Give the interpreters' memory back, when they have finished; closing twice does no harm."""
        self._engines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _chosen_delegate(delegate: str | os.PathLike[str], model: Model) -> DelegateRequest:
    if delegate != AUTO:
        return DelegateRequest.parse(os.fspath(delegate))
    return _autotune.recall(model.sha256) or DelegateRequest.parse(CPU)
