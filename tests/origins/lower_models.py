"""Lower all models in a folder that `make_models.py` filled, in one process; write what came of each.

    python -m tests.origins.lower_models FOLDER

`results.json` then holds, for each file, the SQNR in decibels of the float `.tflite` against the answers of the version
that wrote the file, or the message with which it was refused, and the line that says what was recognised.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from convert.keras_models.sources import ModelSource
from convert.lowering.lower import LoweredModel, LoweringRequest
from convert.lowering.worker import lower_here
from convert.tflite.interpreter import open_engine, run_over
from edge_runtime import EdgeError
from edge_runtime.arrays import Array
from edge_runtime.preprocess import normalize

WEIGHTS = ("weights_only.h5", "weights.h5")


@dataclass(frozen=True)
class Result:
    """What came of one file: an SQNR in decibels, or the reason there is none."""

    db: float | None
    message: str


def lower_all(folder: Path) -> dict[str, Result]:
    """Lower every file that `models.json` in `folder` lists."""
    about = json.loads((folder / "models.json").read_text())
    results: dict[str, Result] = {}
    seen: dict[str, str] = {}
    with np.load(folder / "answers.npz") as answers:
        for name, model in about["models"].items():
            images = answers[model["images"]]
            for form in model["forms"]:
                file = folder / f"{name}.{form}"
                content = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else file.name
                if content in seen:
                    same = results[seen[content]]
                    results[file.name] = Result(same.db, f"the same bytes as {seen[content]}")
                    continue
                seen[content] = file.name
                results[file.name] = _lowered(file, form in WEIGHTS, model, images, answers[name])
                print(file.name, results[file.name], flush=True)
    return results


def _lowered(file: Path, is_weights: bool, model: dict[str, Any], images: Array, expected: Array) -> Result:
    size = images.shape[1] if is_weights else None
    source = ModelSource(weights=file, input_size=size) if is_weights else ModelSource(str(file))
    fed = "tf" if is_weights else model["inputs"]  # weights alone lack what stood in front of the network
    try:
        lowered = _lower(source, fed, images)
        found = answers_of(lowered, images, model["head"])
    except EdgeError as error:
        return Result(None, str(error))
    except Exception as error:  # it is the row that fails, not the table
        return Result(None, f"{type(error).__name__}: {error}")
    return Result(round(sqnr(expected, found, model["head"]), 1), lowered.recognized)


def _lower(source: ModelSource, fed: str, images: Array) -> LoweredModel:
    """Lower with the preprocessing that the file says; where it says nothing, with what the network was fed."""
    import keras

    keras.utils.clear_session()
    with tempfile.TemporaryDirectory() as scratch:
        paths = []
        for number, image in enumerate(images):
            paths.append(Path(scratch) / f"{number}.png")
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(paths[-1])
        given = [None, "none"] if fed == "none" else [fed]
        for preprocessing in given:
            try:
                return lower_here(LoweringRequest(source, preprocessing, tuple(paths), Path(scratch)), lambda _: None)
            except EdgeError as error:
                if preprocessing == given[-1] or "--preprocessing" not in str(error):
                    raise
    raise AssertionError


def answers_of(lowered: LoweredModel, images: Array, head: str) -> Array:
    """What the last activation reads, from what it answers, in float64; images are bytes."""
    ordered = images[..., ::-1] if lowered.spec.channel_order == "BGR" else images
    inputs = normalize(ordered, lowered.spec)
    rows = np.stack(list(run_over(open_engine(lowered.model), inputs))).reshape(len(images), -1)
    probabilities = np.maximum(rows.astype(np.float64), 1e-38)
    if head == "independent":
        return np.log(probabilities / (1 - probabilities))
    if head == "binary" and probabilities.shape[1] == 2:
        return np.log(probabilities[:, 1:] / probabilities[:, :1])
    return np.log(probabilities)


def sqnr(expected: Array, found: Array, head: str) -> float:
    """Signal to noise of logits in decibels; a softmax leaves them up to a constant an image."""
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    if expected.shape != found.shape:
        raise ValueError(f"answers of shape {found.shape}, not {expected.shape}")
    if head == "softmax":
        expected = expected - expected.mean(axis=1, keepdims=True)
        found = found - found.mean(axis=1, keepdims=True)
    noise = float(((expected - found) ** 2).sum())
    return 10 * float(np.log10((expected**2).sum() / max(noise, 1e-30)))


if __name__ == "__main__":
    made = Path(sys.argv[1])
    found = {name: {"db": result.db, "message": result.message} for name, result in lower_all(made).items()}
    (made / "results.json").write_text(json.dumps(found, indent=1))
