"""The slow steps of a conversion as `recall` wants them: what each depends on, and how its result is written down.

No pickles: JSON, plain arrays in `.npz`, and flatbuffers as they are.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from convert.cache.fingerprint import fingerprint
from convert.cache.recall import ROOT, CachedStage, Encoded, moved
from convert.cache.store import Entry, Key
from convert.drift import stored_predictions
from convert.drift.predictions import Predictions
from convert.images.conventions import CONVENTIONS
from convert.images.dataset import ImageSet
from convert.keras_models.sources import ModelSource
from convert.lowering.float_model import FloatModel
from convert.lowering.lower import LoweredModel, LoweringRequest
from convert.quantization.calibrate import Calibration, CalibrationOptions
from convert.quantization.evaluation import Evaluator
from convert.quantization.statistics import ActivationStatistics
from convert.system.progress import Progress
from edge_runtime import InputSpec
from edge_runtime.arrays import Array
from edge_runtime.hashing import file_sha256


def lowering(
    request: LoweringRequest, compute: Callable[[Progress], tuple[LoweredModel, bytes]]
) -> CachedStage[tuple[LoweredModel, bytes]]:
    """The float network and its flatbuffer. A recalled one is in memory alone: nothing lies at its path."""

    def encode(lowered: tuple[LoweredModel, bytes]) -> Encoded:
        return {name: value for name, value in vars(lowered[0]).items() if name != "path"}, {"model": lowered[1]}

    def decode(entry: Entry) -> tuple[LoweredModel, bytes]:
        values = {name: value for name, value in entry.values.items() if name != "notes"}
        labels = None if values["labels"] is None else tuple(values["labels"])
        return LoweredModel(**{**values, "path": request.output, "labels": labels}), entry.parts["model"]

    return CachedStage(lambda: lowering_key(request), compute, encode, decode)


def lowering_key(request: LoweringRequest) -> Key:
    """By content: where the files lie, and what they are called, is no part of it."""
    convention = request.preprocessing in CONVENTIONS
    fields = {
        "source": _source(request.source),
        "preprocessing": request.preprocessing if convention else file_sha256(Path(request.preprocessing)),
        "images": [file_sha256(path) for path in request.images],
        "versions": fingerprint(),
    }
    return Key("float network", request.source.name, fields)


def _source(source: ModelSource) -> dict[str, Any]:
    """Our own sources are pinned in our own code, the downloaded one by its hash, and so by the fingerprint."""
    content = source.model if source.file is None else file_sha256(source.file)
    suffix = None if source.file is None else source.file.suffix.lower()
    return {
        "content": content,
        "suffix": suffix,
        "is_whole_model": source.weights is None,
        "classes": source.classes,
        "input_size": source.input_size,
    }


def calibration(
    name: str,
    network: FloatModel,
    images: ImageSet,
    held_out: ImageSet | None,
    request: CalibrationOptions,
    compute: Callable[[Progress], Calibration],
) -> CachedStage[Calibration]:
    """What `fitting.fit` gives. Both networks are kept whole: to make either from the other takes seconds."""

    def key() -> Key:
        others = None if held_out is None else manifest(held_out)
        return _key("calibration", name, network, images, {"held_out": others, "request": asdict(request)})

    return CachedStage(
        key, compute, _encode_calibration, lambda entry: _decode_calibration(entry, network.spec), images.root
    )


def _encode_calibration(calibration: Calibration) -> Encoded:
    values = {name: getattr(calibration, name) for name in ("calibrator", "tried", "manifest_sha256")}
    arrays: dict[str, Array] = {"pixels": np.stack(calibration.pixels)}
    if calibration.evaluator is not None:
        arrays |= {
            "held_out": np.stack(calibration.evaluator.images),
            "probabilities": calibration.evaluator.probabilities,
        }
    names = list(calibration.statistics.mean)
    return (
        {**values, "tensors": names},
        {
            "equalized": calibration.equalized,
            "rounded": calibration.rounded,
            "arrays": _npz({**arrays, **_statistics_arrays(calibration.statistics, names)}),
        },
    )


def _decode_calibration(entry: Entry, spec: InputSpec) -> Calibration:
    arrays, values = _arrays(entry.parts["arrays"]), entry.values
    evaluator = Evaluator(list(arrays["held_out"]), spec, arrays["probabilities"]) if "held_out" in arrays else None
    return Calibration(
        entry.parts["equalized"],
        entry.parts["rounded"],
        _statistics(arrays, values["tensors"]),
        list(arrays["pixels"]),
        evaluator,
        values["calibrator"],
        values["tried"],
        values["manifest_sha256"],
    )


BY_CHANNEL = ("minimum", "maximum", "mean")


def _statistics_arrays(statistics: ActivationStatistics, names: Sequence[str]) -> dict[str, Array]:
    """One array for all tensors: hundreds of small ones would take a second to read."""
    joined = {each: np.concatenate([getattr(statistics, each)[name] for name in names]) for each in BY_CHANNEL}
    channels = np.array([len(statistics.mean[name]) for name in names])
    return {**joined, "channels": channels, "logits": statistics.logits, "extremes": statistics.extremes}


def _statistics(arrays: Mapping[str, Array], names: Sequence[str]) -> ActivationStatistics:
    ends = np.cumsum(arrays["channels"])[:-1]
    by_name = {each: dict(zip(names, np.split(arrays[each], ends), strict=True)) for each in BY_CHANNEL}
    return ActivationStatistics(**by_name, logits=arrays["logits"], extremes=arrays["extremes"])


def answers(
    name: str,
    network: FloatModel,
    images: ImageSet,
    scratch: Path,
    compute: Callable[[Progress], Predictions],
) -> CachedStage[Predictions]:
    """The float network's answers, as `convert.drift.stored_predictions` writes them; `scratch` is a folder for it."""
    path = scratch / "float.npz"

    def key() -> Key:
        return _key("float answers", name, network, images, {"labels": network.labels})

    def encode(given: Predictions) -> Encoded:
        stored_predictions.save(path, given, images, network.spec, network.sha256)
        return {"skipped": [moved(text, images.root, ROOT) for text in given.skipped]}, {"answers": path.read_bytes()}

    def decode(entry: Entry) -> Predictions:
        path.write_bytes(entry.parts["answers"])
        found = stored_predictions.load(path)
        by_name = {each.relative_to(images.root).as_posix(): each for each in images.paths}
        paths = tuple(by_name[each] for each in found.images)
        skipped = tuple(moved(text, ROOT, images.root) for text in entry.values["skipped"])
        return Predictions(paths, found.probabilities, found.labels, skipped, found.step)

    return CachedStage(key, compute, encode, decode, images.root)


def plausibility(
    name: str,
    network: FloatModel,
    images: ImageSet,
    compute: Callable[[Progress], None],
) -> CachedStage[None]:
    """That the preprocessing was not refused; a refusal is an error, and no error is kept."""

    def key() -> Key:
        more = {"labels": network.labels, "folders": images.folders}
        return _key("preprocessing check", name, network, images, more)

    return CachedStage(key, compute, lambda _: ({}, {}), lambda entry: None, images.root)


def _key(kind: str, name: str, network: FloatModel, images: ImageSet, more: Mapping[str, Any]) -> Key:
    """Of what a float network does with images."""
    fields = {"model": network.sha256, "spec": network.spec.to_json(), "images": manifest(images)}
    return Key(kind, f"{name}, {len(images)} images", {**fields, **more, "versions": fingerprint()})


def manifest(images: ImageSet) -> list[tuple[str, str]]:
    """Name below the folder and SHA-256 of each image, in order."""
    return [(path.relative_to(images.root).as_posix(), file_sha256(path)) for path in images.paths]


def _npz(arrays: Mapping[str, Array]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _arrays(data: bytes) -> dict[str, Array]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)
