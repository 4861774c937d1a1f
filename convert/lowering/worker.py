"""The child process that lowers a network. `convert.lowering.lower` starts it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection

import numpy as np

from convert.errors import LoweringError, MissingExtraError
from convert.keras_models.sources import NOT_TEXT
from convert.lowering.lower import Failure, LoweredModel, LoweringRequest, Recognition, RecognitionRequest
from convert.system.allocator import return_freed_memory
from convert.system.installation import not_installed
from edge_runtime import EdgeError, ImageError, InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import load_pixels, normalize

PR_SET_PDEATHSIG = 1
"""From Linux' <linux/prctl.h>; see prctl(2)."""


def serve(parent: Connection) -> None:
    """Receive a request; send stages, then a `Recognition`, a `LoweredModel` and its bytes, or a `Failure`."""
    request = parent.recv()
    answer: LoweredModel | Recognition | EdgeError
    try:
        answer = (recognize_here if isinstance(request, RecognitionRequest) else lower_here)(request, parent.send)
    except EdgeError as error:
        answer = error
    except ModuleNotFoundError as error:
        answer = MissingExtraError(not_installed(str(error.name), "convert"))
    except Exception as error:
        with contextlib.suppress(OSError):  # the disk that holds the log may be full
            traceback.print_exc()
        message = " ".join(str(error).split())[:500]
        answer = LoweringError(f"{type(error).__name__} while lowering: {message}")
    if isinstance(answer, LoweredModel):
        parent.send(replace(answer, model=b""))
        parent.send_bytes(answer.model)  # by itself: pickled, it would be in memory once more, here and there
        return
    parent.send(Failure(type(answer), str(answer)) if isinstance(answer, EdgeError) else answer)


def lower_here(request: LoweringRequest, report: Callable[[str], object]) -> LoweredModel:
    """Lower in this process; tell `report` the name of each stage that begins.

    Raises:
        SourceError: the network cannot be loaded.
        LoweringError: the float model differs from it, or its logits hardly vary over the classes.
    """
    report("loading TensorFlow")
    import tensorflow as tf

    from convert.lowering.keras_comparison import checked_sqnr_db, tflite_logits
    from convert.lowering.networks import open_network
    from convert.tflite.crop_kernels import crop_kernels
    from convert.tflite.first_convolution import fold_into_first_convolutions

    report("loading the network")
    network = open_network(request.source)
    spec = network.spec(request.preprocessing)
    images = _images(request, spec)
    model = crop_kernels(network.to_tflite(request.scratch, report))
    model, folded, changes = fold_into_first_convolutions(model, spec)
    report("comparing TFLite with the network")
    found = tflite_logits(model, images if folded is spec else _images(request, folded))
    return LoweredModel(
        model=model,
        sha256=hashlib.sha256(model).hexdigest(),
        architecture=network.architecture,
        labels=network.labels,
        weights_sha256=network.weights_sha256,
        spec=folded,
        classes=network.classes,
        keras_sqnr_db=checked_sqnr_db(network.logits(images), found, network.head),
        versions={"tensorflow": tf.__version__, "keras": tf.keras.__version__},
        recognized=NOT_TEXT.sub("_", network.recognized),
        head=network.head,
        front=(*network.front, *changes),
        slow_layers=network.slow_layers,
    )


def recognize_here(request: RecognitionRequest, report: Callable[[str], object]) -> Recognition:
    """Load a network in this process and say what it is; raise `SourceError` if it cannot be loaded."""
    report("loading TensorFlow")
    from convert.lowering.networks import open_network

    report("loading the network")
    network = open_network(request.source)
    spec = network.spec(request.preprocessing)
    return Recognition(network.architecture, network.recognized, network.front, spec, network.head, network.classes)


def _images(request: LoweringRequest, spec: InputSpec) -> Array:
    """Return the images of the request that can be read, float32 (N, height, width, channels); refuse to go without."""
    pixels, problem = [], "pass --validation"
    for path in request.images:
        try:
            pixels.append(load_pixels(path, spec))
        except ImageError as error:
            problem = str(error)
    if not pixels:
        raise LoweringError(f"no image to compare Keras and TFLite on: {problem}")
    return normalize(np.stack(pixels), spec)


if __name__ == "__main__":
    # The kernel kills this process when the one that started it dies; if that died before, no request comes.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return_freed_memory()
    gc.disable()  # in a short life, among objects that stay: collecting took a fifth of TensorFlow's import
    with Connection(int(sys.argv[1])) as connection:
        serve(connection)
