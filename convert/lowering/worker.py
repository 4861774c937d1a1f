"""The child process that lowers a network; the only caller of TFLiteConverter.

Reads a request as JSON from standard input; writes one JSON object a line to standard output: `stage`
when a stage begins, and at last `result` or `error` with `message`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from convert.errors import LoweringError
from convert.images.conventions import input_spec
from convert.lowering.lower import MINIMUM_SPREAD, MINIMUM_SQNR_DB, LoweringRequest, from_json
from convert.statistics.metrics import sqnr_db
from convert.tflite.graph import TfliteGraph
from convert.tflite.interpreter import RecordingEngine, logits_tensor, run_over
from edge_runtime import EdgeError, ImageError, InputSpec
from edge_runtime.logits import centred
from edge_runtime.preprocess import load_pixels, normalize

Array = npt.NDArray[np.float32]
PR_SET_PDEATHSIG = 1
"""From Linux' <linux/prctl.h>."""


def main() -> int:
    """Serve one request."""
    _die_with_parent()
    gc.disable()  # a short life among objects that stay: looking for garbage took a fifth of TensorFlow's import
    events = _private_stdout()
    request = from_json(sys.stdin.read())
    try:
        result = lower_here(request, lambda stage: _send(events, {"stage": stage}))
    except EdgeError as error:
        _send(events, {"error": type(error).__name__, "message": str(error)})
        return 1
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed: pip install 'irv2-edge[convert]'"
        _send(events, {"error": "MissingExtraError", "message": message})
        return 1
    except Exception as error:
        with contextlib.suppress(OSError):  # the disk that the log is on may be full
            traceback.print_exc()
        message = " ".join(str(error).split())[:500]
        _send(events, {"error": "LoweringError", "message": f"{type(error).__name__} while lowering: {message}"})
        return 1
    _send(events, {"result": result})
    return 0


def lower_here(request: LoweringRequest, progress: Callable[[str], None]) -> dict[str, Any]:
    """Lower in this process; the fields of `LoweredModel` but its path.

    Raises:
        SourceError: the network cannot be loaded.
        LoweringError: the float model differs from it, or its logits hardly spread over the classes.
    """
    progress("loading TensorFlow")
    import tensorflow as tf

    from convert.keras_models.loader import load
    from convert.lowering.batch_norm_folding import fold_batch_norms
    from convert.lowering.translate import translate
    from convert.tflite.crop_kernels import crop_kernels

    progress("loading the network")
    loaded = load(request.source)
    height, width = loaded.model.input_shape[1:3]
    spec = input_spec(request.preprocessing, height, width)
    images = _images(request, spec)
    progress("translating to TFLite")
    model = translate(loaded.model)
    if model is None:
        progress("converting to TFLite")
        model = _convert(fold_batch_norms(loaded.model), request.output.parent)
    model = crop_kernels(model)
    request.output.write_bytes(model)
    progress("comparing TFLite with Keras")
    sqnr = compare(keras_logits(loaded.model, images), tflite_logits(model, images))
    return {
        "architecture": loaded.architecture,
        "labels": loaded.labels,
        "weights_sha256": loaded.weights_sha256,
        "height": height,
        "width": width,
        "classes": loaded.model.output_shape[-1],
        "keras_sqnr_db": sqnr,
        "versions": {"tensorflow": tf.__version__, "keras": tf.keras.__version__},
    }


def keras_logits(model: Any, images: Array) -> Array:
    """What the softmax at the end of `model` reads, float32 (N, classes), for images (N, h, w, 3)."""
    import keras

    before = keras.Model(model.input, _before_softmax(model.outputs[0]))
    rows = [np.asarray(before(image[np.newaxis], training=False)) for image in images]  # eager: tracing takes seconds
    return np.stack(rows).reshape(len(rows), -1).astype(np.float32)


def _before_softmax(tensor: Any) -> Any:
    """The symbolic tensor that the softmax reads which `tensor` comes from, in whatever nested model it is.

    The network's own layers compute it: a copy of them could be wrong in the same way as what is compared with it.
    """
    import keras

    operation, node_index, tensor_index = tensor._keras_history
    inputs = operation._inbound_nodes[node_index].input_tensors
    if isinstance(operation, keras.Model):
        inside = keras.Model(operation.inputs, _before_softmax(operation.outputs[tensor_index]))
        return inside(inputs if len(inputs) > 1 else inputs[0])
    if type(operation).__name__ == "Softmax":  # the layer, or the operation of the same name
        return inputs[0]
    if getattr(operation, "activation", None) is keras.activations.softmax:
        linear = type(operation).from_config({**operation.get_config(), "activation": "linear"})
        logits = linear(inputs[0])
        linear.set_weights(operation.get_weights())
        return logits
    return _before_softmax(inputs[0])  # a reshape, or a dropout, of the probabilities


def tflite_logits(model: bytes, images: Array) -> Array:
    """What the softmax at the end of a `.tflite` reads, float32 (N, classes)."""
    engine, logits = RecordingEngine(model), logits_tensor(TfliteGraph(model))
    rows = [engine.tensor(logits).reshape(-1) for _ in run_over(engine, images)]
    return np.stack(rows).astype(np.float32)


def compare(expected: Array, found: Array) -> float:
    """SQNR in decibel of `found` against `expected` logits (N, classes), centred per image.

    Raises:
        LoweringError: it is below 80 dB, or the logits hardly spread: near-uniform outputs agree while wrong.
    """
    if not np.all(np.isfinite(expected)):
        raise LoweringError("the Keras network answers with NaN or infinity on real images: its weights are broken")
    spread = float(centred(expected).std())
    if spread < MINIMUM_SPREAD:
        raise LoweringError(
            f"the network's logits spread by {spread:.1e} over its classes, it says nothing: "
            "check the weights and --preprocessing"
        )
    sqnr = sqnr_db(centred(expected), centred(found))
    if not sqnr >= MINIMUM_SQNR_DB:
        raise LoweringError(
            f"float TFLite and Keras logits agree to {sqnr:.1f} dB only, {MINIMUM_SQNR_DB:.0f} dB are needed: "
            "a layer of this network is not lowered faithfully; please report it"
        )
    return min(sqnr, 999.0)


def _convert(model: Any, scratch: Path) -> bytes:
    """A float flatbuffer of static batch 1, by way of a SavedModel: several times quicker than `from_keras_model`."""
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="saved_model_"))
    with contextlib.chdir(scratch):  # TensorFlow takes no path but UTF-8
        return _through_saved_model(model, folder.name)


def _through_saved_model(model: Any, folder: str) -> bytes:
    import keras
    import tensorflow as tf

    try:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint(
            "serving_default",
            lambda image: {"probabilities": model(image, training=False)},
            input_signature=[tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")],
        )
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        return bytes(converter.convert())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _images(request: LoweringRequest, spec: InputSpec) -> Array:
    """The readable ones of the request's pictures, float32 (N, h, w, 3)."""
    pixels, problems = [], []
    for path in request.images:
        try:
            pixels.append(load_pixels(path, spec))
        except ImageError as error:
            problems.append(str(error))
    if not pixels:
        raise LoweringError(
            f"no picture to compare Keras and TFLite on: {problems[0] if problems else 'pass --validation'}"
        )
    return normalize(np.stack(pixels), spec)


def _die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the process that started this one is killed; see prctl(2).

    One that was killed before is noticed at the first event: nobody reads it.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _private_stdout() -> TextIO:
    """Keep standard output for events; whatever else is printed here goes where errors go."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def _send(events: TextIO, event: dict[str, Any]) -> None:
    events.write(json.dumps(event) + "\n")
    events.flush()


if __name__ == "__main__":
    sys.exit(main())
