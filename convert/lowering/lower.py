"""Lower a Keras network to a float `.tflite`, in a process of its own.

TensorFlow takes seconds to import, gigabytes to convert, and prints a thousand lines while it does. In a child process
its memory is returned, its chatter stays in a log, and this process never imports it. `convert.lowering.worker` is the
other side. The two send each other Python objects over a socket that both inherit: a request one way; names of stages,
then a `LoweredModel` or a `Failure`, the other way. Not `multiprocessing.Process`, which would import the caller's
main module again in the child, and find modules in the folder that the user works in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from convert.errors import LoweringError
from convert.images.conventions import PIXELS, input_spec
from convert.images.dataset import ImageSet
from convert.keras_models.sources import ModelSource
from convert.system.progress import Progress
from edge_runtime import EdgeError, InputSpec
from edge_runtime.specs import BINARY, SOFTMAX

COMPARED_WITH_KERAS = 2
MOST_LOG_LINES = 100


@dataclass(frozen=True)
class LoweringRequest:
    """What to lower, and on which images to compare the result with Keras.

    Attributes:
        source: the network.
        preprocessing: convention or file, see `convert.images.conventions.input_spec`; None if the source itself
            has to say how its images are prepared.
        images: at least one, for the comparison.
        scratch: an existing folder for the log and for temporary files.
    """

    source: ModelSource
    preprocessing: str | None
    images: tuple[Path, ...]
    scratch: Path


@dataclass(frozen=True)
class RecognitionRequest:
    """What to load only, to say what it is; attributes are those of `LoweringRequest`."""

    source: ModelSource
    preprocessing: str | None
    scratch: Path


@dataclass(frozen=True)
class Recognition:
    """What a source turned out to be; attributes are those of `LoweredModel`."""

    architecture: str
    recognized: str
    front: tuple[str, ...]
    spec: InputSpec
    head: str
    classes: int


@dataclass(frozen=True)
class LoweredModel:
    """A float `.tflite` that was compared with the Keras network it was made from.

    Attributes:
        model, sha256: the flatbuffer: static batch 1, signature `serving_default`, image -> probabilities; its SHA-256
            in hexadecimal, which takes a second to compute.
        architecture, labels, weights_sha256: see `convert.keras_models.loader.LoadedModel`.
        spec: how its images are prepared.
        classes: number of probabilities.
        keras_sqnr_db: SQNR of its logits against those of Keras on the images of the request, in decibels.
        versions: of TensorFlow and Keras.
        recognized: what the source turned out to be, to show to the user; "" for our own.
        head: "softmax"; "binary" for one sigmoid unit, which became a softmax over two classes; "independent" for
            several sigmoids.
        front: what stood before the network in the source: a line for each layer that was folded or left.
        slow_layers: layers that TFLiteConverter had to translate, each with the reason.
    """

    model: bytes = field(repr=False)
    sha256: str
    architecture: str
    labels: tuple[str, ...] | None
    weights_sha256: str
    spec: InputSpec
    classes: int
    keras_sqnr_db: float
    versions: dict[str, str]
    recognized: str = ""
    head: str = SOFTMAX
    front: tuple[str, ...] = ()
    slow_layers: tuple[str, ...] = ()

    @property
    def runtime_head(self) -> str:
        """Return the head that a runtime sees, one of `edge_runtime.specs.HEADS`."""
        return SOFTMAX if self.head == BINARY else self.head

    def findings(self) -> dict[str, Any]:
        """Return what was recognized in the source as JSON values, without what is empty."""
        found = {"recognized": self.recognized, "front": list(self.front), "slow_layers": list(self.slow_layers)}
        return {key: value for key, value in found.items() if value}


@dataclass(frozen=True)
class Failure:
    """An error on its way from a worker: its class, which this process has, and its message.

    Not the error itself: libraries of the worker take over the pickling of exceptions, with all that led to them, and
    this process would import TensorFlow to have them back.
    """

    kind: type[EdgeError]
    message: str


@dataclass(frozen=True)
class FloatModel:
    """A lowered network, and the labels of its classes.

    `given` is what the user says of its images, before what its own front makes of them; None where the file says all.
    """

    lowered: LoweredModel
    labels: tuple[str, ...]
    given: InputSpec | None = None

    @property
    def taken(self) -> InputSpec | None:
        """Return what the network's front is given: what the user says, or pixels; None if it has no front."""
        if self.given is not None or not self.lowered.front:
            return self.given
        return input_spec(PIXELS, self.spec.height, self.spec.width, self.spec.channels)

    @property
    def model(self) -> bytes:
        """Return the flatbuffer."""
        return self.lowered.model

    @property
    def spec(self) -> InputSpec:
        """Return how its images are prepared."""
        return self.lowered.spec

    @property
    def head(self) -> str:
        """Return which of `edge_runtime.specs.HEADS` it has."""
        return self.lowered.runtime_head

    @property
    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the flatbuffer."""
        return self.lowered.sha256


def images_to_compare(images: ImageSet) -> tuple[Path, ...]:
    """Choose a few images, of different classes if there are any: similar ones would show little."""
    folders = images.folders or tuple(map(str, images.paths))
    first_of = {folder: path for path, folder in reversed(list(zip(images.paths, folders, strict=True)))}
    return tuple(first_of.values())[:COMPARED_WITH_KERAS]


def lower(request: LoweringRequest, progress: Progress) -> LoweredModel:
    """Lower a network in a child process and compare the result with it.

    Raises:
        EdgeError: the worker raised it: the network cannot be loaded or is not lowered faithfully.
        LoweringError: the worker died; the message ends with the last line of its log.
        Both carry the end of the log as a note, which `--debug` shows.
    """
    lowered = _answer(request, progress)
    assert isinstance(lowered, LoweredModel)
    return lowered


def recognize(request: RecognitionRequest, progress: Progress) -> Recognition:
    """Load a network in a child process and say what it is; raise what `lower` does."""
    recognition = _answer(request, progress)
    assert isinstance(recognition, Recognition)
    return recognition


def _answer(request: LoweringRequest | RecognitionRequest, progress: Progress) -> LoweredModel | Recognition:
    """Start a worker, send it a request, pass its stages on and return its answer."""
    log_path = request.scratch / "lowering.log"
    ours, theirs = Pipe()
    with ours, log_path.open("wb") as log:
        with theirs:
            worker = subprocess.Popen(
                [sys.executable, "-P", "-m", "convert.lowering.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(request.scratch.absolute()),
            )
        try:
            for message in _conversation(ours, request):
                match message:
                    case str():
                        progress.stage(message)
                    case LoweredModel() | Recognition():
                        return message  # TensorFlow takes a second more to end
                    case Failure():
                        raise message.kind(message.message)
                    case _:
                        raise message
            is_killed = worker.wait() == -signal.SIGKILL
            ending = "killed, as happens when memory runs out" if is_killed else f"exit code {worker.returncode}"
            last_line = (_log_lines(log_path) or ["it printed nothing"])[-1][:300]
            raise LoweringError(
                f"the lowering of {request.source.name} ended unexpectedly ({ending}): {last_line}; "
                "--debug shows its log"
            )
        except EdgeError as error:
            error.add_note("\n".join(_log_lines(log_path)[-MOST_LOG_LINES:]))
            raise
        finally:
            worker.kill()
            worker.wait()


def _conversation(worker: Connection, request: LoweringRequest | RecognitionRequest) -> Iterator[Any]:
    """Send the request; yield what the worker sends until it is gone, a model together with its bytes."""
    with contextlib.suppress(EOFError, OSError):  # it died, before or while it was told or told something
        worker.send(request)
    with contextlib.suppress(EOFError, OSError):
        while True:
            message = worker.recv()
            yield replace(message, model=worker.recv_bytes()) if isinstance(message, LoweredModel) else message


def _environment(scratch: Path) -> dict[str, str]:
    """Return the worker's environment: ours, with `scratch` as the folder for temporary files.

    Libraries leave files there when they are killed. It stays where it is if its name is not UTF-8, which AutoGraph,
    running code from there, cannot read.
    """
    is_text = os.fsencode(scratch).decode("utf-8", "ignore") == str(scratch)
    return {**os.environ, "TMPDIR": str(scratch)} if is_text else dict(os.environ)


def _log_lines(log: Path) -> list[str]:
    return [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
