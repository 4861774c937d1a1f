"""The child process that lowers a network; the only caller of TFLiteConverter. `convert.lowering.lower` starts it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import LoweringError, MissingExtraError
from convert.images.conventions import input_spec
from convert.lowering.lower import LoweredModel, LoweringRequest
from edge_runtime import EdgeError, ImageError, InputSpec
from edge_runtime.arrays import Array
from edge_runtime.preprocess import load_pixels, normalize

PR_SET_PDEATHSIG = 1
"""From Linux' <linux/prctl.h>; see prctl(2)."""


def serve(parent: Connection) -> None:
    """Receive one `LoweringRequest`; send stages, then a `LoweredModel` or the exception that prevents it."""
    request = parent.recv()
    answer: LoweredModel | EdgeError
    try:
        answer = lower_here(request, parent.send)
    except EdgeError as error:
        answer = error
    except ModuleNotFoundError as error:
        answer = MissingExtraError(f"{error.name} is not installed: pip install 'irv2-edge[convert]'")
    except Exception as error:
        with contextlib.suppress(OSError):  # the disk that holds the log may be full
            traceback.print_exc()
        message = " ".join(str(error).split())[:500]
        answer = LoweringError(f"{type(error).__name__} while lowering: {message}")
    parent.send(answer)


def lower_here(request: LoweringRequest, report: Callable[[str], object]) -> LoweredModel:
    """Lower in this process; tell `report` the name of each stage that begins.

    Raises:
        SourceError: the network cannot be loaded.
        LoweringError: the float model differs from it, or its logits hardly vary over the classes.
    """
    report("loading TensorFlow")
    import tensorflow as tf

    from convert.keras_models.loader import load
    from convert.lowering.batch_norm_folding import fold_batch_norms
    from convert.lowering.keras_comparison import checked_sqnr_db, keras_logits, tflite_logits
    from convert.lowering.translate import translate
    from convert.tflite.crop_kernels import crop_kernels

    report("loading the network")
    loaded = load(request.source)
    height, width = loaded.model.input_shape[1:3]
    images = _images(request, input_spec(request.preprocessing, height, width))
    report("translating to TFLite")
    model = translate(loaded.model)
    if model is None:
        report("converting to TFLite")
        model = _convert(fold_batch_norms(loaded.model), request.scratch)
    model = crop_kernels(model)
    report("comparing TFLite with Keras")
    return LoweredModel(
        model=model,
        architecture=loaded.architecture,
        labels=loaded.labels,
        weights_sha256=loaded.weights_sha256,
        height=height,
        width=width,
        classes=loaded.model.output_shape[-1],
        keras_sqnr_db=checked_sqnr_db(keras_logits(loaded.model, images), tflite_logits(model, images)),
        versions={"tensorflow": tf.__version__, "keras": tf.keras.__version__},
    )


def _convert(model: Any, scratch: Path) -> bytes:
    """Return a float flatbuffer of static batch 1, by way of a SavedModel: several times faster than from Keras."""
    import keras
    import tensorflow as tf

    with (
        tempfile.TemporaryDirectory(dir=scratch, prefix="saved_model_", ignore_cleanup_errors=True) as folder,
        contextlib.chdir(scratch),  # TensorFlow takes relative paths where an absolute one is not UTF-8
    ):
        name = Path(folder).name
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint(
            "serving_default",
            lambda image: {"probabilities": model(image, training=False)},
            input_signature=[tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")],
        )
        archive.write_out(name, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(name, signature_keys=["serving_default"])
        return bytes(converter.convert())


def _images(request: LoweringRequest, spec: InputSpec) -> Array:
    """Return those images of the request that can be read, float32 (N, height, width, 3); refuse to go on without."""
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
    gc.disable()  # in a short life, among objects that stay: collecting took a fifth of TensorFlow's import
    with Connection(int(sys.argv[1])) as connection:
        serve(connection)
