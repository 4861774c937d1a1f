"""Where the drift comes from: each step between the network that was trained and what a device says, by itself.

Keras -> float TFLite -> candidate          candidate, reference kernels -> candidate, optimized kernels
                                            candidate on this host -> candidate on a device
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert.drift import drift
from convert.drift.drift import Drift, Predictions
from convert.drift.models import ModelPredictor, predict_all
from convert.errors import SourceError
from convert.images.dataset import ImageSet, PixelReader
from convert.system.progress import Progress
from convert.tflite.interpreter import run_over
from edge_runtime import Classifier
from edge_runtime.artifact import flatbuffer_sha256
from edge_runtime.engines import Engine, EngineChoice, choose_engine, import_interpreter
from edge_runtime.recorder import FORMAT, FORMAT_VERSION
from edge_runtime.tensors import encode, to_probabilities

KERAS, FLOAT, CANDIDATE = "Keras", "float TFLite", "candidate"
REFERENCE_KERNELS, OPTIMIZED_KERNELS = "candidate, reference kernels", "candidate, optimized kernels"
HOST, DEVICE = "candidate, this host", "candidate, device"
IMAGES_ON_REFERENCE_KERNELS = 4
"""They are 20 times slower than the optimized ones, and more for int16x8: minutes an image on a large network."""


@dataclass(frozen=True)
class DriftSource:
    """One step: SQNR of the logits in dB (None for equal outputs), top-1 agreement, and on how many images.

    What is not known of it, as of a figure that stands in a card, is None.
    """

    before: str
    after: str
    sqnr_db: float | None
    agreement: float | None
    images: int | None


def to_json(steps: Iterable[DriftSource]) -> list[dict[str, Any]]:
    """As in the report's `blame`."""
    return [
        {
            "from": step.before,
            "to": step.after,
            "sqnr_db": step.sqnr_db,
            "agreement": step.agreement,
            "images": step.images,
        }
        for step in steps
    ]


def conversion(keras_sqnr_db: float | None, measured: Drift) -> list[DriftSource]:
    """The steps of a conversion.

    Args:
        keras_sqnr_db: of the float TFLite against Keras, as a card has it, or None.
        measured: float TFLite against candidate.
    """
    lowering = [] if keras_sqnr_db is None else [DriftSource(KERAS, FLOAT, keras_sqnr_db, None, None)]
    return [*lowering, _step(FLOAT, CANDIDATE, measured)]


def kernels(candidate: ModelPredictor, path: Path, images: ImageSet, progress: Progress) -> DriftSource:
    """What the optimized kernels change, on a few images.

    Args:
        candidate: opened on optimized kernels.
        path: of its file.
        images: of which the first few are used.
        progress: told of each image.
    """
    few = images.first(IMAGES_ON_REFERENCE_KERNELS)
    optimized = predict_all(candidate, few, progress, "optimized kernels")
    engine = reference_kernels(path, choose_engine("litert"))
    images_read = progress.track(PixelReader(candidate.spec).read(few), "reference kernels", len(few))
    tensors = (encode(pixels, candidate.spec, candidate.classifier.input_tensor) for _, pixels in images_read)
    outputs = np.stack(list(run_over(engine, tensors)))
    exact = Predictions(
        optimized.paths, to_probabilities(outputs, engine.output), candidate.labels, step=candidate.step
    )
    return _step(REFERENCE_KERNELS, OPTIMIZED_KERNELS, drift.compare(exact, optimized, None))


def reference_kernels(model: Path, choice: EngineChoice) -> Engine:
    """Open a model on the kernels that define what an operator computes, without XNNPACK."""
    import_interpreter(choice)
    from ai_edge_litert.interpreter import OpResolverType

    return Engine(model, choice, None, options={"experimental_op_resolver_type": OpResolverType.BUILTIN_REF})


def device(recording: Path, candidate: ModelPredictor, path: Path, images: ImageSet, progress: Progress) -> DriftSource:
    """What a device changes, on the images that it was asked.

    Args:
        recording: written by `irv2-predict --record` on the device.
        candidate: opened on this host.
        path: of its file.
        images: all images there are here; those of the recording are found by their content.
        progress: told of each image.

    Raises:
        SourceError: the recording is damaged, of another model, or of images that are not here.
    """
    recorded = _recorded(recording, candidate.classifier, path)
    here = {sha256: image for sha256, image in images.file_hashes().items() if sha256 in recorded}
    if not here:
        raise SourceError(
            f"--recorded {recording} has no image that is in {images.root}: record images of that folder on the device"
        )
    paths = tuple(here.values())
    found = predict_all(candidate, ImageSet(images.root, paths, None), progress, "device")
    sha256_of = {image: sha256 for sha256, image in here.items()}
    rows = np.array([recorded[sha256_of[image]] for image in found.paths], np.float32)
    there = Predictions(found.paths, rows, candidate.labels, step=candidate.step)
    return _step(HOST, DEVICE, drift.compare(found, there, None))


def _recorded(path: Path, classifier: Classifier, model: Path) -> dict[str, list[float]]:
    """SHA-256 of an image -> probabilities."""
    try:
        value = json.loads(path.read_text("utf-8"))
        if value["format"] != FORMAT or value["version"] != FORMAT_VERSION:
            raise ValueError(f"format {value['format']!r}, version {value['version']!r}")
        answers = {answer["sha256"]: [float(x) for x in answer["probabilities"]] for answer in value["answers"]}
        if any(len(row) != len(value["labels"]) for row in answers.values()):
            raise ValueError("it has not one probability for each label")
        if not all(map(math.isfinite, (x for row in answers.values() for x in row))):
            raise ValueError("a probability is not finite")
        sha256, labels = value["model_sha256"], tuple(value["labels"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(
            f"--recorded {path} cannot be read ({error!r}): write it with irv2-predict --record on the device"
        ) from error
    if sha256 != flatbuffer_sha256(model, classifier.artifact) or labels != classifier.labels:
        raise SourceError(f"--recorded {path} is of another model than {model}: record the candidate on the device")
    return answers


def _step(before: str, after: str, measured: Drift) -> DriftSource:
    return DriftSource(before, after, measured.to_json()["sqnr_db"], measured.agreement_top1, measured.images)
