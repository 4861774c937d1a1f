"""Where the drift comes from: how much each step from the trained network to the answer of a device contributes.

Keras -> float TFLite -> candidate          candidate, reference kernels -> candidate, optimized kernels
                                            candidate on this host -> candidate on a device
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.drift.comparison import Comparison
from convert.drift.figures import Drift, measure
from convert.drift.models import ModelPredictor
from convert.drift.predictions import Predictions, predict_all
from convert.errors import SourceError
from convert.images.dataset import ImageSet
from convert.system.progress import Progress
from edge_runtime import Classifier
from edge_runtime.engines import Engine, EngineChoice, choose_engine, import_interpreter
from edge_runtime.recorder import FORMAT, FORMAT_VERSION

KERAS, FLOAT, CANDIDATE = "Keras", "float TFLite", "candidate"
REFERENCE_KERNELS, OPTIMIZED_KERNELS = "candidate, reference kernels", "candidate, optimized kernels"
HOST, DEVICE = "candidate, this host", "candidate, device"
IMAGES_ON_REFERENCE_KERNELS = 4
"""They are 20 times slower than the optimized ones, and more for int16x8: minutes per image on a large network."""


def conversion(keras_sqnr_db: float | None, drift: Drift) -> list[dict[str, Any]]:
    """Return the steps of a conversion, as entries of a report's `blame`.

    `keras_sqnr_db` is the SQNR of the float TFLite against Keras in dB, None if unknown; `drift` is that of the
    candidate against the float TFLite.
    """
    lowering = {"from": KERAS, "to": FLOAT, "sqnr_db": keras_sqnr_db, "agreement": None, "images": None}
    return [*([] if keras_sqnr_db is None else [lowering]), _step(FLOAT, CANDIDATE, drift)]


def kernels(candidate: ModelPredictor, images: ImageSet, progress: Progress) -> dict[str, Any]:
    """Measure what the optimized kernels change, on the first few images: an entry of a report's `blame`."""
    few, fast = images[:IMAGES_ON_REFERENCE_KERNELS], candidate.classifier
    optimized = predict_all(candidate, few, progress, "optimized kernels")
    engine = reference_kernels(candidate.path, choose_engine("litert"))
    with Classifier(fast.model, [engine], replace(fast.receipt, workers=1)) as classifier:
        exact = predict_all(replace(candidate, classifier=classifier), few, progress, "reference kernels")
    return _step(REFERENCE_KERNELS, OPTIMIZED_KERNELS, measure(Comparison(exact, optimized, None)))


def reference_kernels(model: Path, choice: EngineChoice) -> Engine:
    """Open a model on the kernels that define what an operator computes, without XNNPACK."""
    import_interpreter(choice)
    from ai_edge_litert.interpreter import OpResolverType

    return Engine(model, choice, None, options={"experimental_op_resolver_type": OpResolverType.BUILTIN_REF})


def device(recording: Path, candidate: ModelPredictor, images: ImageSet, progress: Progress) -> dict[str, Any]:
    """Measure what a device changes, on the images that it answered: an entry of a report's `blame`.

    `irv2-predict --record` wrote the recording on the device; its images are found among `images` by their content. One
    that is damaged, of another model, or of images that are not here, is a `SourceError`.
    """
    recorded = _recorded(recording, candidate)
    sha256_of = {image: sha256 for sha256, image in images.file_hashes().items() if sha256 in recorded}
    if not sha256_of:
        raise SourceError(
            f"--recorded {recording} has no image that is in {images.root}: record images of that folder on the device"
        )
    here = predict_all(candidate, ImageSet(images.root, tuple(sha256_of), None), progress, "device")
    rows = np.array([recorded[sha256_of[image]] for image in here.paths], np.float32)
    there = Predictions(here.paths, rows, candidate.labels, step=candidate.step, head=candidate.head)
    return host_to_device(here, there)


def host_to_device(here: Predictions, there: Predictions) -> dict[str, Any]:
    """Return an entry of a report's `blame`, given the candidate's answers to the same images here and on a device."""
    return _step(HOST, DEVICE, measure(Comparison(here, there, None)))


def _recorded(path: Path, candidate: ModelPredictor) -> dict[str, list[float]]:
    """Read a recording of the candidate: SHA-256 of an image -> probabilities."""
    try:
        value = json.loads(path.read_text("utf-8"))
        if value["format"] != FORMAT or value["version"] != FORMAT_VERSION:
            raise ValueError(f"format {value['format']!r}, version {value['version']!r}")
        answers = {answer["sha256"]: [float(x) for x in answer["probabilities"]] for answer in value["answers"]}
        if any(len(row) != len(value["labels"]) for row in answers.values()):
            raise ValueError("it does not have one probability for each label")
        if not all(map(math.isfinite, (x for row in answers.values() for x in row))):
            raise ValueError("a probability is not finite")
        sha256, labels = value["model_sha256"], tuple(value["labels"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(
            f"--recorded {path} cannot be read ({error!r}): write it with irv2-predict --record on the device"
        ) from error
    if sha256 != candidate.classifier.model.flatbuffer_sha256() or labels != candidate.labels:
        raise SourceError(
            f"--recorded {path} is of another model than {candidate.path}: record the candidate on the device"
        )
    return answers


def _step(before: str, after: str, drift: Drift) -> dict[str, Any]:
    """Return a step that changes predictions: what is compared, SQNR of the logits in dB (None if equal), agreement."""
    return {
        "from": before,
        "to": after,
        "sqnr_db": drift.to_json()["sqnr_db"],
        "agreement": drift.agreement_top1,
        "images": drift.images,
    }
