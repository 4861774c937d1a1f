"""`Classifier`: an artifact, its interpreters, the preprocessing of its card, and the ranking of its answers."""

from __future__ import annotations

import os
import queue
import threading
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, overload

import numpy as np

from edge_runtime import _autotune
from edge_runtime._prefetch import prefetch
from edge_runtime.artifact import Model, open_model
from edge_runtime.delegates import CPU, DelegateRequest
from edge_runtime.engines import AUTO, AnyEngine, Receipt, choose_engine, import_interpreter
from edge_runtime.errors import EngineError
from edge_runtime.opening import open_engines
from edge_runtime.preprocess import ImageSource, Pixels, load_pixels
from edge_runtime.specs import INDEPENDENT, SOFTMAX, THRESHOLD, InputSpec
from edge_runtime.tensors import Probabilities, encode, run
from edge_runtime.watched import CHECK_EVERY, WatchedEngine, after_failure


@dataclass(frozen=True)
class Prediction:
    """One class of one image: its index, its label and its probability in 0..1."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Frame:
    """One frame of a stream: its number, counted from 0, the frame itself, and its best classes."""

    index: int
    image: ImageSource
    predictions: list[Prediction]


TOP_K = 5
"""How many classes that exclude each other are returned, unless it is said; of independent labels all are."""
DEFAULTS: dict[str, tuple[int | None, float]] = {SOFTMAX: (TOP_K, 0.0), INDEPENDENT: (None, THRESHOLD)}
"""Head -> `top_k` and `threshold`, unless they are said."""

DOUBTFUL = f"single answers that it gave since its last check, up to {CHECK_EVERY}, may be wrong"


class TopK:
    """Selects the `top_k` most probable classes, of those that `threshold`, `allow` and `deny` admit.

    What is None is as the head's `DEFAULTS` have it.
    """

    def __init__(
        self,
        labels: Sequence[str],
        top_k: int | None,
        threshold: float | None,
        allow: Collection[str] | None,
        deny: Collection[str] | None,
        head: str = SOFTMAX,
    ) -> None:
        most, least = DEFAULTS[head]
        top_k = top_k if top_k is not None else most if most is not None else len(labels)
        threshold = least if threshold is None else threshold
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}: ask for at least 1 class")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}: pass a probability in 0..1")
        for name, listed in (("allow", allow), ("deny", deny)):
            if isinstance(listed, str) or (unknown := sorted(set(listed or ()) - set(labels))):
                wrong = listed if isinstance(listed, str) else unknown[0]
                raise ValueError(f"{name} has {wrong!r}: pass a list of the model's own labels")
        self._labels, self._top_k, self.threshold = labels, top_k, threshold
        admitted = set(labels if allow is None else allow) - set(deny or ())
        self._admitted = np.array([label in admitted for label in labels])

    def best(self, probabilities: Probabilities) -> list[Prediction]:
        """Return the most probable of the admitted classes; see `Classifier.best`."""
        if not np.isfinite(probabilities).all():
            raise EngineError("the model answers with NaN or infinity: its weights are damaged; convert it again")
        ranking = np.argsort(-probabilities, kind="stable")
        best = ranking[self._admitted[ranking] & (probabilities[ranking] >= self.threshold)][: self._top_k]
        return [Prediction(int(i), self._labels[i], float(probabilities[i])) for i in best]


class Classifier:
    """Classifies images with one model; threads may share it, and take turns at its workers.

    Attributes:
        labels: one for each class.
        spec: how images are prepared.
        receipt: what actually runs; another one once a delegate fails and the CPU takes over.
        model, artifact: what was opened; `artifact` is None for a foreign model.
        head: "softmax" for classes that exclude each other, "independent" for labels of which each may be there.
        step: distance between neighbouring probabilities of a model with an integer output; 0.0 for floats.
        input_tensor: what the model's input holds, for `encode`.
    """

    def __init__(self, model: Model, engines: Sequence[AnyEngine], receipt: Receipt) -> None:
        self.model, self.spec, self.artifact, self.receipt = model, model.spec, model.artifact, receipt
        self._watched = [engine for engine in engines if isinstance(engine, WatchedEngine)]
        self.head = model.head
        self.labels, self.input_tensor = model.class_names(engines[0]), model.input_tensor(engines[0])
        self.step = engines[0].output.scale or 0.0
        self._idle: queue.SimpleQueue[AnyEngine | None] = queue.SimpleQueue()
        self._gathering, self._failing = threading.Lock(), threading.Lock()  # who takes all engines, takes turns
        for engine in engines:
            model.check_io_tensors(engine)
            self._idle.put(engine)

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
            path: an artifact; or a foreign model, if `spec` and `labels` say what its file does not.
            engine: "auto", "litert" or "tflite-runtime".
            delegate: "cpu", "gpu", "npu", "nnapi", "edgetpu", "qnn" or the path of a plugin library, with options as in
                "NAME:key=value,..."; "auto" is the one that `irv2-benchmark --save` found fastest, or else "cpu".
            strict: whether a delegate that cannot be used is an error, then or later, as it always is of a compiled
                model; if not, the CPU takes over, with a RuntimeWarning and the reason in the receipt.
            threads: of each interpreter; None divides the cores among them.
            workers: number of interpreters over the one mapped file, and so of images computed at once.
            sha256: expected hash of the whole file.
            spec, labels: of a foreign model. With `spec` an artifact counts as one; its checksums are still verified.

        Raises:
            ArtifactError: the file is missing, damaged, foreign without `spec`, or not the pinned one.
            EngineError: no interpreter is installed, or it refuses the model.
            DelegateError: there is no such delegate, or it cannot be used and `strict` is set.
        """
        if workers < 1:
            raise EngineError(f"{workers} workers: pass at least 1")
        model = open_model(Path(path), sha256, spec, labels, lambda: _import_ahead(engine))
        request = _chosen_delegate(delegate, model)
        if request.kind is not None and request.kind.warning is not None:
            warnings.warn(request.kind.warning, RuntimeWarning, stacklevel=2)
        threads = threads if threads is not None else max(1, (os.cpu_count() or 1) // workers)
        engines, receipt = open_engines(model, request, choose_engine(engine), threads, workers, strict)
        if receipt.fallback is not None:
            warnings.warn(f"{receipt.fallback}; the CPU is used instead", RuntimeWarning, stacklevel=2)
        if receipt.unverified is not None:
            warnings.warn(f"{request.text} is not verified: {receipt.unverified}", RuntimeWarning, stacklevel=2)
        return cls(model, engines, replace(receipt, requested=AUTO) if delegate == AUTO else receipt)

    @overload
    def predict(
        self,
        images: ImageSource,
        top_k: int | None = None,
        threshold: float | None = None,
        allow: Collection[str] | None = None,
        deny: Collection[str] | None = None,
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self,
        images: list[Any] | tuple[Any, ...],
        top_k: int | None = None,
        threshold: float | None = None,
        allow: Collection[str] | None = None,
        deny: Collection[str] | None = None,
    ) -> list[list[Prediction]]: ...

    def predict(
        self,
        images: ImageSource | Sequence[ImageSource],
        top_k: int | None = None,
        threshold: float | None = None,
        allow: Collection[str] | None = None,
        deny: Collection[str] | None = None,
    ) -> list[Prediction] | list[list[Prediction]]:
        """Return the most probable classes of images, best first; of independent labels those there are, perhaps none.

        Args:
            images: one image (see `load_pixels` for what that can be), or a list of them for a list of answers.
            top_k, threshold, allow, deny: see `best`, also for errors.

        Raises:
            ImageError: an image cannot be read.
        """
        selection = TopK(self.labels, top_k, threshold, allow, deny, self.head)
        rows = [selection.best(row) for row in self.probabilities(images)]
        return rows if isinstance(images, (list, tuple)) else rows[0]

    def best(
        self,
        probabilities: Probabilities,
        top_k: int | None = None,
        threshold: float | None = None,
        allow: Collection[str] | None = None,
        deny: Collection[str] | None = None,
    ) -> list[Prediction]:
        """Return the most probable classes of one row (classes,), best first; the lower index first on a tie.

        Args:
            probabilities: of all classes, in 0..1.
            top_k: how many classes, at most; None: 5, or all independent labels.
            threshold: the least probability of a class, in 0..1; None: 0, or 0.5 for independent labels.
            allow: labels of the only classes to return; None allows all.
            deny: labels of classes not to return.

        Raises:
            EngineError: a probability is not finite.
            ValueError: `top_k` is less than 1, `threshold` is out of range, or a label is not one of the model's.
        """
        return TopK(self.labels, top_k, threshold, allow, deny, self.head).best(probabilities)

    def probabilities(self, images: ImageSource | Sequence[ImageSource]) -> Probabilities:
        """Return float32 (N, classes), in 0..1, for N images; N is 1 for a single one. The workers share a list.

        Where a delegate fails on the way, the CPU answers all of them.
        """
        sources: Sequence[Any] = images if isinstance(images, (list, tuple)) else [images]
        before, rows = self.receipt.fallback, self._rows(sources)
        self._look_at_delegate()
        if len(sources) >= CHECK_EVERY:
            self.check_delegate()
        if self.receipt.fallback != before:
            rows = self._rows(sources)
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), np.float32)

    def _rows(self, sources: Sequence[Any]) -> list[Probabilities]:
        """Return the probabilities of each image."""
        workers = min(self.receipt.workers, len(sources))
        if workers > 1:
            from concurrent.futures import ThreadPoolExecutor  # one worker starts faster without it

            with ThreadPoolExecutor(workers) as pool:
                return list(pool.map(self._answer, sources))
        return [self._answer(source) for source in sources]

    def stream(
        self,
        frames: Iterable[ImageSource],
        *,
        drop: bool = False,
        top_k: int | None = None,
        threshold: float | None = None,
        allow: Collection[str] | None = None,
        deny: Collection[str] | None = None,
    ) -> Iterator[Frame]:
        """Classify the frames of a camera or a video in order, preparing the next one during inference.

        Args:
            frames: read in a thread of its own; see `load_pixels` for what a frame can be.
            drop: whether frames that arrive during inference give way to the newest, so that answers never fall
                behind a camera; `Frame.index` shows the gaps. If not, the iterator is held up.
            top_k, threshold, allow, deny: see `best`, also for errors.

        Raises:
            ImageError: a frame cannot be read; what `frames` itself raises is raised too.
        """
        selection = TopK(self.labels, top_k, threshold, allow, deny, self.head)
        numbered = enumerate(frames)
        newest = prefetch(numbered, drop=True) if drop else numbered
        prepared = prefetch((index, frame, load_pixels(frame, self.spec)) for index, frame in newest)
        return (Frame(index, frame, selection.best(self.run(pixels))) for index, frame, pixels in prepared)

    def _answer(self, source: ImageSource) -> Probabilities:
        return self._run(load_pixels(source, self.spec))

    def run(self, pixels: Pixels) -> Probabilities:
        """Return probabilities, float32 (classes,), for uint8 pixels as `load_pixels` returns them.

        Raises:
            EngineError: the interpreter fails, or the classifier is closed.
        """
        try:
            return self._run(pixels)
        finally:
            self._look_at_delegate()

    def _run(self, pixels: Pixels) -> Probabilities:
        """Return probabilities as `run` does, in any thread."""
        tensor = encode(pixels, self.spec, self.input_tensor)
        engine = self._idle.get()
        try:
            if engine is None:
                raise EngineError("this classifier is closed: open it again with Classifier.open")
            return run(engine, tensor)
        finally:
            self._idle.put(engine)

    @property
    def unchecked(self) -> int:
        """Return how many answers the delegate has given since it last proved itself, at most; 0 on the CPU."""
        return max((engine.unchecked for engine in self._watched), default=0)

    def check_delegate(self) -> None:
        """Let an active delegate answer the probe again, if it has answered anything since it last did.

        It does so by itself every 64 images, which takes 1.6 % of its time. If it fails, the CPU takes over, with a
        RuntimeWarning: what it answered since, `unchecked` images, may be wrong.

        Raises:
            DelegateError: it fails, and the CPU cannot take over, or must not (`strict`).
        """
        with self._gathering:
            held = [self._idle.get() for _ in self._watched]
            try:
                for engine in held:
                    if isinstance(engine, WatchedEngine):
                        engine.check()
            finally:
                for engine in held:
                    self._idle.put(engine)
        self._look_at_delegate()

    def check_with_next(self) -> None:
        """Have an active delegate prove itself before its next answer is returned: that one is right in any case."""
        for engine in self._watched:
            engine.check_with_next()

    def _look_at_delegate(self) -> None:
        """Say so in the receipt, and once in a warning, when a delegate has failed and the CPU has taken over."""
        reason = self._watched[0].watch.reason if self._watched else None
        if reason is None or self._watched[0].watch.on_cpu is None:
            return
        with self._failing:
            is_new = self.receipt.fallback is None
            if is_new:
                self.receipt = after_failure(self.receipt, reason)
        if is_new:
            warnings.warn(f"{reason}; the CPU is used instead, {DOUBTFUL}", RuntimeWarning, stacklevel=3)

    def close(self) -> None:
        """Release the interpreters once they have finished; closing twice does no harm."""
        with self._gathering:
            for _ in range(self.receipt.workers):
                self._idle.get()
            for _ in range(self.receipt.workers):
                self._idle.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _import_ahead(engine: str) -> None:
    """Import an interpreter, which takes about as long as a checksum; who needs it says what is wrong with it."""
    with suppress(EngineError):
        import_interpreter(choose_engine(engine))


def _chosen_delegate(delegate: str | os.PathLike[str], model: Model) -> DelegateRequest:
    if delegate != AUTO:
        return DelegateRequest.parse(os.fspath(delegate))
    fastest = _autotune.load_fastest(model.flatbuffer_sha256())
    return fastest or DelegateRequest.parse(CPU)
